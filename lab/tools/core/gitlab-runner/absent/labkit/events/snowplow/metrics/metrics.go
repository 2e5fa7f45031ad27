// Package metrics names the options of snowplow's collector.
package metrics

type CollectorOption func()

func WithCollectorNamespace(string) CollectorOption { return nil }

func WithCollectorBatchDeliveryDurationBuckets([]float64) CollectorOption { return nil }
