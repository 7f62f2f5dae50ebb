// Records what upstream makes of strategic merge patches: `go run . < cases.jsonl > ../strategic.jsonl`. A case is a kind of
// core/v1 or apps/v1, an object and a patch; what is recorded with it is the result or the error.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

type row struct {
	Kind   string          `json:"kind"`
	Object json.RawMessage `json:"object"`
	Patch  json.RawMessage `json:"patch"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
}

var kinds = map[string]any{"Pod": corev1.Pod{}, "Service": corev1.Service{}, "ServiceAccount": corev1.ServiceAccount{}, "Node": corev1.Node{}, "Deployment": appsv1.Deployment{}}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var r row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			log.Fatal(err)
		}
		result, err := strategicpatch.StrategicMergePatch(r.Object, r.Patch, kinds[r.Kind])
		if err != nil {
			r.Error = err.Error()
		} else {
			r.Result = result
		}
		out, err := json.Marshal(r)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(out))
	}
}
