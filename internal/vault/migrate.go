package vault

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// sqlFiles holds the schema as numbered steps, forward only. A step that was
// ever shipped is never edited: the next one changes what it made.
//
//go:embed sql/*.sql
var sqlFiles embed.FS

var migrations = mustSub(sqlFiles, "sql")

func mustSub(fsys fs.FS, dir string) fs.FS {
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		panic("vault: " + err.Error())
	}
	return sub
}

// migrate runs the steps the database has not seen, each in one transaction
// together with the new PRAGMA user_version. It returns [ErrTooNew] for a
// database that has seen more steps than there are.
func migrate(ctx context.Context, c *sql.Conn, steps fs.FS) error {
	names, err := fs.Glob(steps, "*.sql") // sorted
	if err != nil {
		return err
	}
	var version int
	if err := c.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return err
	}
	if version > len(names) {
		return ErrTooNew
	}
	for i := version; i < len(names); i++ {
		number, _, _ := strings.Cut(names[i], "_")
		if n, err := strconv.Atoi(number); err != nil || n != i+1 {
			panic("vault: step " + names[i] + " is out of sequence")
		}
		step, err := fs.ReadFile(steps, names[i])
		if err != nil {
			return err
		}
		script := fmt.Sprintf("BEGIN IMMEDIATE;\n%s\nPRAGMA user_version = %d;\nCOMMIT;", step, i+1)
		if _, err := c.ExecContext(ctx, script); err != nil {
			_, _ = c.ExecContext(context.WithoutCancel(ctx), `ROLLBACK`)
			return fmt.Errorf("migrating to %s: %w", names[i], err)
		}
	}
	return nil
}
