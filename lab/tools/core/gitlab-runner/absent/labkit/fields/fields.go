// Package fields names the log fields that the runner writes. No field has a legacy alias here.
package fields

const (
	HTTPStatusCode = "status"
	DurationS      = "duration_s"
)

var (
	Deprecated     map[string]struct{ Standard string }
	VariantVersion map[string]int
)
