// Package api names what the command `wrapper` asks for.
package api

import (
	"context"
	"errors"
)

var ErrProcessNotInitialized = errors.New("process not initialized")

type Status string

const (
	StatusUnknown    Status = "unknown"
	StatusRunning    Status = "running"
	StatusInShutdown Status = "in shutdown"
	StatusStopped    Status = "stopped"
)

func (s Status) String() string { return string(s) }

type ShutdownCallback interface{ Run(context.Context) }

type ShutdownCallbackDef interface {
	URL() string
	Method() string
}

type InitGracefulShutdownRequest interface{ ShutdownCallbackDef() ShutdownCallbackDef }

func NewShutdownCallback(any, ShutdownCallbackDef) ShutdownCallback { return nil }
