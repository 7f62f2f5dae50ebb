// The scenario with client-go, the first of the clients that do it; the others are beside this file and in
// tests/tests/scenario.rs. Each step says what must hold of any API server:
//
//	crud      create, read, replace, a stale replace is a conflict, patch, delete, gone
//	apply     a second manager's value is a conflict that names the first; with force it is taken over
//	watch     every change is told once; a watch that begins at an event's version goes on behind it
//	chunks    a list in chunks is the list of one version: each object once, with what is left
//	election  of two candidates one leads; when it gives up, the other does
//
// Usage: scenario KUBECONFIG. One line a step; the exit code is 0 only when all held.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	applyv1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	clientv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

const (
	namespace = "scenario-client-go"
	limit     = 60 * time.Second
)

var steps = []struct {
	name string
	run  func(context.Context, *kubernetes.Clientset) error
}{{"crud", crud}, {"apply", apply}, {"watch", watches}, {"chunks", chunks}, {"election", election}}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return errors.New("usage: scenario KUBECONFIG")
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	own := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, own, metav1.CreateOptions{}); err != nil {
		return err
	}
	for _, step := range steps {
		if err := step.run(ctx, client); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Println("ok", step.name)
	}
	return client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
}

func maps(client *kubernetes.Clientset) clientv1.ConfigMapInterface {
	return client.CoreV1().ConfigMaps(namespace)
}

func named(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"a": value}}
}

func crud(ctx context.Context, client *kubernetes.Clientset) error {
	maps := maps(client)
	first, err := maps.Create(ctx, named("crud", "1"), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if _, err := maps.Create(ctx, named("crud", "1"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("a second create: %v", err)
	}
	second := first.DeepCopy()
	second.Data["a"] = "2"
	if _, err := maps.Update(ctx, second, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if _, err := maps.Update(ctx, first, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		return fmt.Errorf("a stale replace: %v", err)
	}
	patch := []byte(`{"data":{"b":"3"}}`)
	if _, err := maps.Patch(ctx, "crud", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	read, err := maps.Get(ctx, "crud", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if read.Data["a"] != "2" || read.Data["b"] != "3" || read.UID != first.UID {
		return fmt.Errorf("read %v of %s, not %s", read.Data, read.UID, first.UID)
	}
	if err := maps.Delete(ctx, "crud", metav1.DeleteOptions{}); err != nil {
		return err
	}
	if _, err := maps.Get(ctx, "crud", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("after delete: %v", err)
	}
	return nil
}

func apply(ctx context.Context, client *kubernetes.Clientset) error {
	maps := maps(client)
	applied := func(value, manager string, force bool) (*corev1.ConfigMap, error) {
		wanted := applyv1.ConfigMap("apply", namespace).WithData(map[string]string{"a": value})
		return maps.Apply(ctx, wanted, metav1.ApplyOptions{FieldManager: manager, Force: force})
	}
	if _, err := applied("1", "one", false); err != nil {
		return err
	}
	_, err := applied("2", "two", false)
	if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "one": .data.a`) {
		return fmt.Errorf("a second manager: %v", err)
	}
	taken, err := applied("2", "two", true)
	if err != nil {
		return err
	}
	owners := map[string]string{}
	for _, entry := range taken.ManagedFields {
		owners[entry.Manager] = string(entry.FieldsV1.Raw)
	}
	if !strings.Contains(owners["two"], "f:a") || strings.Contains(owners["one"], "f:a") {
		return fmt.Errorf("owners %v", owners)
	}
	return nil
}

// events reads so many events of a watch as words.
func events(ctx context.Context, watcher watch.Interface, count int) ([]string, string, error) {
	var seen []string
	version := ""
	for len(seen) < count {
		select {
		case <-ctx.Done():
			return seen, version, fmt.Errorf("%v and no more", seen)
		case event, open := <-watcher.ResultChan():
			object, known := event.Object.(*corev1.ConfigMap)
			if !open || !known {
				return seen, version, fmt.Errorf("%v and then %v", seen, event)
			}
			seen = append(seen, fmt.Sprintf("%s %s %s", event.Type, object.Name, object.Data["a"]))
			version = object.ResourceVersion
		}
	}
	return seen, version, nil
}

func watches(ctx context.Context, client *kubernetes.Clientset) error {
	maps := maps(client)
	list, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "none=such"})
	if err != nil {
		return err
	}
	only := metav1.ListOptions{FieldSelector: "metadata.name=watch", ResourceVersion: list.ResourceVersion}
	watcher, err := maps.Watch(ctx, only)
	if err != nil {
		return err
	}
	defer watcher.Stop()
	made, err := maps.Create(ctx, named("watch", "1"), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	made.Data["a"] = "2"
	if _, err := maps.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
		return err
	}
	seen, version, err := events(ctx, watcher, 2)
	if err != nil {
		return err
	}
	watcher.Stop()
	// While nobody watches.
	if err := maps.Delete(ctx, "watch", metav1.DeleteOptions{}); err != nil {
		return err
	}
	only.ResourceVersion = version
	resumed, err := maps.Watch(ctx, only)
	if err != nil {
		return err
	}
	defer resumed.Stop()
	rest, _, err := events(ctx, resumed, 1)
	if err != nil {
		return err
	}
	told := strings.Join(append(seen, rest...), ", ")
	if told != "ADDED watch 1, MODIFIED watch 2, DELETED watch 2" {
		return errors.New(told)
	}
	return nil
}

func chunks(ctx context.Context, client *kubernetes.Clientset) error {
	maps := maps(client)
	for number := range 25 {
		object := named(fmt.Sprintf("chunk-%02d", number), "1")
		object.Labels = map[string]string{"step": "chunks"}
		if _, err := maps.Create(ctx, object, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	var names, sizes, versions []string
	options := metav1.ListOptions{Limit: 10}
	for {
		list, err := maps.List(ctx, options)
		if err != nil {
			return err
		}
		left := int64(0)
		if list.RemainingItemCount != nil {
			left = *list.RemainingItemCount
		}
		sizes = append(sizes, fmt.Sprintf("%d+%d", len(list.Items), left))
		versions = append(versions, list.ResourceVersion)
		for _, item := range list.Items {
			if item.Labels["step"] == "chunks" {
				names = append(names, item.Name)
			}
		}
		// What is made between two chunks is in none of them.
		late := named(fmt.Sprintf("chunk-late-%d", len(sizes)), "1")
		late.Labels = map[string]string{"step": "chunks"}
		if _, err := maps.Create(ctx, late, metav1.CreateOptions{}); err != nil {
			return err
		}
		if options.Continue = list.Continue; options.Continue == "" {
			break
		}
	}
	// The map of the step apply and kube-root-ca.crt, where somebody publishes it, are among them.
	if len(names) != 25 || strings.Contains(strings.Join(names, " "), "late") {
		return fmt.Errorf("%d names: %v", len(names), names)
	}
	if len(sizes) != 3 || versions[0] != versions[1] || versions[0] != versions[2] {
		return fmt.Errorf("chunks %v at %v", sizes, versions)
	}
	return nil
}

func election(ctx context.Context, client *kubernetes.Clientset) error {
	leads := make(chan string, 2)
	candidate := func(name string) (context.CancelFunc, error) {
		lock := &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Name: "election", Namespace: namespace},
			Client:     client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: name},
		}
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: 4 * time.Second, RenewDeadline: 3 * time.Second, RetryPeriod: 200 * time.Millisecond,
			ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { leads <- name },
				OnStoppedLeading: func() {},
			},
		})
		own, stop := context.WithCancel(ctx)
		if err == nil {
			go elector.Run(own)
		}
		return stop, err
	}
	leader := func(expected string) error {
		select {
		case name := <-leads:
			if name != expected {
				return fmt.Errorf("%s leads, not %s", name, expected)
			}
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%s does not lead", expected)
		}
	}
	stopOne, err := candidate("one")
	if err != nil {
		return err
	}
	defer stopOne()
	if err := leader("one"); err != nil {
		return err
	}
	stopTwo, err := candidate("two")
	if err != nil {
		return err
	}
	defer stopTwo()
	select {
	case name := <-leads:
		return fmt.Errorf("%s leads, too", name)
	case <-time.After(time.Second):
	}
	stopOne()
	return leader("two")
}
