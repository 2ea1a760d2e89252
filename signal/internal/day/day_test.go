package day_test

import (
	"testing"
	"time"

	"github.com/chate2e/chate2e/signal/internal/day"
)

func TestOf(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want uint32
	}{
		{time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC), 1},
		{time.Date(1970, 1, 3, 23, 59, 59, 0, time.UTC), 2},
		{time.Date(2026, 1, 2, 23, 0, 0, 0, time.FixedZone("", -2*60*60)), 20456},
		{time.Date(9999, 12, 1, 23, 59, 59, 0, time.UTC), day.Max - day.Valid},
		// What is not a day on which keys could be made.
		{time.Date(9999, 12, 2, 0, 0, 0, 0, time.UTC), 1},
		{time.Date(1970, 1, 1, 12, 0, 0, 0, time.UTC), 1},
		{time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), 1},
		{time.Unix(1<<60, 0), 1},
		{time.Time{}, 1},
	} {
		if got := day.Of(c.at); got != c.want {
			t.Errorf("%v is day %d, want %d", c.at, got, c.want)
		}
	}
}

// The last day is the last one that every format for times has.
func TestMax(t *testing.T) {
	last := time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	if got := day.Start(day.Max); !got.Equal(last) {
		t.Errorf("day %d starts at %v, want %v", day.Max, got, last)
	}
	if _, err := day.Start(day.Max).MarshalJSON(); err != nil {
		t.Error(err)
	}
	if _, err := day.Start(day.Max + 1).MarshalJSON(); err == nil {
		t.Error("a later day has a form in JSON as well")
	}
}
