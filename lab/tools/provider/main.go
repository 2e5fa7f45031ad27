// The provider plugin `kubernetes`, from its own module. Its schema, which its build makes, is left
// out: programs in Python bring the types with their SDK. It has a go.mod of its own, because it
// does not compile with the CLI's version of pulumi/pkg; all other versions are those of core.
package main

import "github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"

// The provider itself reads the schema for an import, which the platform does of namespaces alone.
const schema = `{
  "name": "kubernetes",
  "resources": {
    "kubernetes:core/v1:Namespace": {
      "inputProperties": {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"$ref": "pulumi.json#/Any"},
        "spec": {"$ref": "pulumi.json#/Any"}
      }
    }
  }
}`

func main() {
	provider.Serve("kubernetes", "4.34.2", []byte(schema), nil)
}
