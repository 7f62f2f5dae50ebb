// Records what upstream's checks of the Pod Security Standards say of pods: of its own fixtures and of those in files.
//
//	go run . ../pods.yaml >../recorded.jsonl
//
// A fixture that does not come out as its folder says is an error.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

const (
	module = "k8s.io/pod-security-admission"
	// newest is the last minor version asked for; there are no checks of its own.
	newest = 40
)

// row is one pod and all findings about it. What no outcome covers is allowed.
type row struct {
	// From says where the pod is from: the path of the first fixture that has it, or its name.
	From     string          `json:"from"`
	Pod      json.RawMessage `json:"pod"`
	Outcomes []outcome       `json:"outcomes"`
}

// outcome holds at a level from a minor version to another; the newest stands for `latest`, too.
type outcome struct {
	Level  string `json:"level"`
	First  int    `json:"first"`
	Last   int    `json:"last"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

type evaluator interface {
	EvaluatePod(api.LevelVersion, *metav1.ObjectMeta, *corev1.PodSpec) []policy.CheckResult
}

func main() {
	if err := record(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// noise is what Go writes of empty structs.
var noise = regexp.MustCompile(`,"(resources|status)":\{\}|"metadata":\{\},`)

func record(files []string) error {
	checks, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return err
	}
	var rows []row
	known := map[string]bool{}
	add := func(from string, pod *corev1.Pod) error {
		pod.Name, pod.Status = "", corev1.PodStatus{}
		text, err := json.Marshal(pod)
		if err != nil || known[string(text)] {
			return err
		}
		known[string(text)] = true
		text = noise.ReplaceAll(text, nil)
		rows = append(rows, row{From: from, Pod: text, Outcomes: outcomes(checks, pod)})
		return nil
	}
	if err := fixtures(checks, add); err != nil {
		return err
	}
	for _, file := range files {
		if err := own(file, add); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for _, row := range rows {
		if err := out.Encode(row); err != nil {
			return err
		}
	}
	return nil
}

// fixture is a path such as restricted/v1.8/fail/privileged0.yaml.
var fixture = regexp.MustCompile(`^(baseline|restricted)/v1\.(\d+)/(pass|fail)/`)

func fixtures(checks evaluator, add func(string, *corev1.Pod) error) error {
	where, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return err
	}
	root := filepath.Join(strings.TrimSpace(string(where)), "test", "testdata")
	paths, err := filepath.Glob(filepath.Join(root, "*", "*", "*", "*.yaml"))
	if err != nil || len(paths) == 0 {
		return fmt.Errorf("no fixtures in %s: %w", root, err)
	}
	slices.SortFunc(paths, byVersion)
	for _, path := range paths {
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var pod corev1.Pod
		if err := yaml.UnmarshalStrict(text, &pod); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		setDefaults(&pod)
		parts := fixture.FindStringSubmatch(name)
		if parts == nil {
			return fmt.Errorf("%s is no fixture", name)
		}
		minor, _ := strconv.Atoi(parts[2])
		if evaluate(checks, &pod, parts[1], minor).Allowed != (parts[3] == "pass") {
			return fmt.Errorf("%s does not come out so", name)
		}
		if err := add(strings.TrimSuffix(name, ".yaml"), &pod); err != nil {
			return err
		}
	}
	return nil
}

// setDefaults does what the API server has done before any check that a fixture depends on.
func setDefaults(pod *corev1.Pod) {
	for i := range pod.Spec.Volumes {
		if source := &pod.Spec.Volumes[i].VolumeSource; *source == (corev1.VolumeSource{}) {
			source.EmptyDir = &corev1.EmptyDirVolumeSource{}
		}
	}
}

// byVersion puts older fixtures first, so that each pod is named for the first that has it.
func byVersion(a, b string) int {
	key := func(path string) string {
		return regexp.MustCompile(`\d+`).ReplaceAllStringFunc(path, func(digits string) string {
			return fmt.Sprintf("%04s", digits)
		})
	}
	return strings.Compare(key(a), key(b))
}

func own(file string, add func(string, *corev1.Pod) error) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		var pod corev1.Pod
		if err := yaml.UnmarshalStrict(document, &pod); err != nil {
			return err
		}
		if err := add(pod.Name, &pod); err != nil {
			return err
		}
	}
	return nil
}

func evaluate(checks evaluator, pod *corev1.Pod, level string, minor int) policy.AggregateCheckResult {
	at := api.LevelVersion{Level: api.Level(level), Version: api.MajorMinorVersion(1, minor)}
	return policy.AggregateCheckResults(checks.EvaluatePod(at, &pod.ObjectMeta, &pod.Spec))
}

// outcomes asks for every version and joins neighbours that are told the same.
func outcomes(checks evaluator, pod *corev1.Pod) []outcome {
	found := []outcome{}
	for _, level := range []api.Level{api.LevelBaseline, api.LevelRestricted} {
		for minor := range newest + 1 {
			result := evaluate(checks, pod, string(level), minor)
			if result.Allowed {
				continue
			}
			now := outcome{string(level), minor, minor, result.ForbiddenReason(), result.ForbiddenDetail()}
			if last := len(found) - 1; last >= 0 && follows(found[last], now) {
				found[last].Last = minor
				continue
			}
			found = append(found, now)
		}
	}
	return found
}

func follows(before, now outcome) bool {
	return before.Level == now.Level && before.Last+1 == now.First && before.Reason == now.Reason && before.Detail == now.Detail
}
