package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/library"
)

// authz has an authorizer, and a check for the resource of a request.
func authz() environ {
	env := extended(
		library.JSONPatch(),
		cel.Variable("authorizer", library.AuthorizerType),
		cel.Variable("authorizer.requestResource", library.ResourceCheckType),
	)
	requester := &user.DefaultInfo{Name: "requester"}
	values := map[string]any{
		"authorizer":                 library.NewAuthorizerVal(requester, fake{}),
		"authorizer.requestResource": library.NewResourceAuthorizerVal(requester, fake{}, resource{}),
	}
	return environ{env: env, values: values}
}

// fake allows get, fails at fail, and gives what it was asked as its reason.
type fake struct{}

func (fake) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	reason := fmt.Sprintf("%s %s %s %s/%s/%s/%s/%s", a.GetUser().GetName(), a.GetVerb(), a.GetPath(),
		a.GetAPIGroup(), a.GetResource(), a.GetSubresource(), a.GetNamespace(), a.GetName())
	switch a.GetVerb() {
	case "get":
		return authorizer.DecisionAllow, reason, nil
	case "fail":
		return authorizer.DecisionDeny, reason, errors.New("it failed")
	default:
		return authorizer.DecisionNoOpinion, reason, nil
	}
}

// resource is that of a request.
type resource struct{}

func (resource) GetName() string        { return "web" }
func (resource) GetNamespace() string   { return "default" }
func (resource) GetSubresource() string { return "scale" }
func (resource) GetResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
}
