// Package client names a request to the step runner and its answer.
package client

import "time"

type Variable struct {
	Key, Value   string
	File, Masked bool
}

type RunRequest struct {
	Id, WorkDir, BuildDir, Steps string
	Timeout                      *time.Duration
	Env                          map[string]string
	Variables                    []Variable
}

type (
	State     string
	ErrorKind string
)

const (
	StateSuccess   State = "success"
	StateCancelled State = "cancelled"

	ErrorInternal    ErrorKind = "internal"
	ErrorStepFailure ErrorKind = "step failure"
	ErrorCancelled   ErrorKind = "cancelled"
	ErrorTimeout     ErrorKind = "timeout"
	ErrorUnknown     ErrorKind = "unknown"
)

func (s State) String() string { return string(s) }

type Status struct {
	State     State
	ErrorKind ErrorKind
	Message   string
}
