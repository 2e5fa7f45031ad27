// Package oidc names the options of snowplow's tokens.
package oidc

type (
	Option func()
	Source struct{}
)

func WithSkipIfUnsupportedCloud(bool) Option { return nil }

func NewSource(...Option) Source { return Source{} }
