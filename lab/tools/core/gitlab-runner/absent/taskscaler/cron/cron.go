// Package cron names what the executor's autoscaler asks for.
package cron

import (
	"errors"
	"time"
)

type Schedule struct{}

func Parse(string, string) (Schedule, error) {
	return Schedule{}, errors.New("the autoscaler's periods are not part of this build")
}

func (Schedule) Contains(time.Time) bool { return false }
