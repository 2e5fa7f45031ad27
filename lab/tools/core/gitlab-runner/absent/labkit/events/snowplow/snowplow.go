// Package snowplow names what the runner's usage log for billing asks for.
package snowplow

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"gitlab.com/gitlab-org/labkit/v2/events/snowplow/metrics"
	"gitlab.com/gitlab-org/labkit/v2/events/snowplow/oidc"
)

var errAbsent = errors.New("snowplow events are not part of this build")

type (
	Emitter       struct{}
	Tracker       struct{}
	EmitterOption func()
	SendCallback  func(successes, failures []SendResult)
)

type SendResult struct {
	EventCount, StatusCode int
	Err                    error
}

type BillingEventRequiredInput struct {
	Category, EventType, Realm, UnitOfMeasure string
	Quantity                                  float64
}

type BillingEventOptionalInput struct {
	Subject, DeploymentType, InstanceID, UniqueInstanceID string
	ProjectID, NamespaceID, RootNamespaceID               int64
	OrganizationID                                        int64
	Metadata                                              map[string]any
}

func WithCallback(SendCallback) EmitterOption { return nil }

func WithTokenSource(oidc.Source) EmitterOption { return nil }

func WithMetricsCollectorOptions(...metrics.CollectorOption) EmitterOption { return nil }

func NewEmitter(string, ...EmitterOption) (*Emitter, error) { return nil, errAbsent }

func NewTracker(string, *Emitter) (*Tracker, error) { return nil, errAbsent }

func (*Emitter) Collector() prometheus.Collector { return nil }

func (*Tracker) TrackBillingEventWithOptionalInput(
	BillingEventRequiredInput, BillingEventOptionalInput,
) error {
	return errAbsent
}

func (*Tracker) Stop() {}
