// Package helm has the types that the provider names of the SDK.
package helm

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// RepositoryOptsInput is an input of the component Chart 4.
type RepositoryOptsInput = pulumi.Input

// PostRendererInput is an input of the component Chart 4.
type PostRendererInput = pulumi.Input

// RepositoryOpts says how a chart's repository is reached.
type RepositoryOpts struct {
	CaFile   pulumi.AssetOrArchive `pulumi:"caFile"`
	CertFile pulumi.AssetOrArchive `pulumi:"certFile"`
	KeyFile  pulumi.AssetOrArchive `pulumi:"keyFile"`
	Password *string               `pulumi:"password"`
	Repo     *string               `pulumi:"repo"`
	Username *string               `pulumi:"username"`
}

// PostRenderer is a command that changes the manifests.
type PostRenderer struct {
	Args    []string `pulumi:"args"`
	Command string   `pulumi:"command"`
}
