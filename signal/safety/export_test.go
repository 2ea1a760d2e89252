package safety

// For the fuzz tests.
var (
	ParseScannable  = parseScannable
	AppendScannable = appendScannable
)
