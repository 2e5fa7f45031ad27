// Package yaml is what the provider's components name of the SDK.
package yaml

import (
	"errors"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// RegisterResource fails: the components ConfigFile, ConfigGroup and Chart 4 are not part of this build.
func RegisterResource(_ *pulumi.Context, _, _, _ string, _ pulumi.Input,
	_ ...pulumi.ResourceOption) (pulumi.CustomResource, error) {
	return nil, errors.New("the provider's components are not part of this build")
}
