package main

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The version that is built here; what is deprecated later is not said yet.
const major, minor = 1, 37

type (
	deprecatedKind interface {
		APILifecycleDeprecated() (major, minor int)
	}
	removedKind interface {
		APILifecycleRemoved() (major, minor int)
	}
	replacedKind interface {
		APILifecycleReplacement() schema.GroupVersionKind
	}
)

// deprecation is the warning that comes with answers of a kind, as k8s.io/apiserver/pkg/endpoints/deprecation words it;
// empty when there is none.
func deprecation(gvk schema.GroupVersionKind, object any) string {
	kind, ok := object.(deprecatedKind)
	if !ok {
		return ""
	}
	inMajor, inMinor := kind.APILifecycleDeprecated()
	if inMajor == 0 && inMinor == 0 || inMajor > major || inMajor == major && inMinor > minor {
		return ""
	}
	text := fmt.Sprintf("%s %s is deprecated in v%d.%d+", gvk.GroupVersion(), gvk.Kind, inMajor, inMinor)
	if kind, ok := object.(removedKind); ok {
		if inMajor, inMinor := kind.APILifecycleRemoved(); inMajor != 0 || inMinor != 0 {
			text += fmt.Sprintf(", unavailable in v%d.%d+", inMajor, inMinor)
		}
	}
	if kind, ok := object.(replacedKind); ok {
		if by := kind.APILifecycleReplacement(); !by.Empty() {
			text += fmt.Sprintf("; use %s %s", by.GroupVersion(), by.Kind)
		}
	}
	return text
}
