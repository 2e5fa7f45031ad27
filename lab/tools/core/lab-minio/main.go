// Command lab-minio is the MinIO server and its client mc in one binary: each
// is upstream's own entry point, chosen by the name it is called by.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	client "github.com/minio/mc/cmd"
	server "github.com/minio/minio/cmd"
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case "minio":
		server.Main(os.Args)
	case "mc":
		if err := client.Main(os.Args); err != nil {
			os.Exit(1)
		}
	default:
		fmt.Fprintln(os.Stderr, "call this binary as minio or mc")
		os.Exit(2)
	}
}
