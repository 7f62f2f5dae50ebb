// Package podsecurity is upstream's test of the Pod Security Standards (k8s.io/pod-security-admission/test@v0.37.2) as a
// binary of this module: every fixture is created, dry, as a pod and as a Deployment's template in a namespace of each
// level and version, in the server that -kubeconfig names. Then the server's own counts are looked at, as upstream's
// test/integration/auth/podsecurity_test.go does. `cargo xtask podsecurity` runs it.
package podsecurity

import (
	"context"
	"flag"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/metrics/testutil"
	upstream "k8s.io/pod-security-admission/test"
)

var kubeconfig = flag.String("kubeconfig", "", "file with the address of the server, and a user who may do anything")

func TestPodSecurity(t *testing.T) {
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	// As upstream's test server sets it: no limit of the client's own.
	config.QPS = -1
	upstream.Run(t, upstream.Options{ClientConfig: config})
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("metrics", func(t *testing.T) { counts(t, client) })
}

// counts asks for what a run of the fixtures leaves in the server's metrics.
func counts(t *testing.T, client kubernetes.Interface) {
	text, err := client.CoreV1().RESTClient().Get().AbsPath("metrics").DoRaw(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	metrics := testutil.NewMetrics()
	if err := testutil.ParseMetrics(string(text), &metrics); err != nil {
		t.Fatal(err)
	}
	labels := map[string][]string{
		"pod_security_evaluations_total": {
			"decision", "policy_level", "policy_version", "mode", "request_operation", "resource", "subresource",
		},
		"pod_security_exemptions_total": {"request_operation", "resource", "subresource"},
	}
	for name, labels := range labels {
		if err := testutil.ValidateMetrics(metrics, name, labels...); err != nil {
			t.Error(err)
		}
	}
}
