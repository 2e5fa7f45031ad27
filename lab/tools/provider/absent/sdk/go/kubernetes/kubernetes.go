// Package kubernetes has what the provider names of Pulumi's SDK for Go, whose 65 generated packages
// take minutes to compile. Only its components for programs in Go use them.
package kubernetes

import "reflect"

// UntypedArgs are the fields of an object.
type UntypedArgs map[string]interface{}

// ElementType makes them an input.
func (UntypedArgs) ElementType() reflect.Type {
	return reflect.TypeOf((*map[string]interface{})(nil)).Elem()
}
