// Program coredns is CoreDNS with the plugins that our Corefile names, and no others (local/kubernetes/programs.py).
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
)

// The order of CoreDNS' own list, which is that of a query's way.
func init() {
	dnsserver.Directives = []string{"bind", "health", "errors", "cache", "kubernetes"}
}

func main() {
	coremain.Run()
}
