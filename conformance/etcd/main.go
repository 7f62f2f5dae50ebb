// Command etcd is upstream's etcd server: its own main package is not importable on its own, but all
// of it but the call is in etcdmain.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
