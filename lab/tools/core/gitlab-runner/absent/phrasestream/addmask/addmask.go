// Package addmask names what `proxy-exec` asks for, an experiment that is off by default.
package addmask

import (
	"errors"
	"io"
)

type AddMask struct{}

func New(any, ...io.Writer) (*AddMask, error) {
	return nil, errors.New("masking by proxy-exec is not part of this build")
}

func (*AddMask) Get(int) io.Writer { return io.Discard }

func (*AddMask) Close() error { return nil }
