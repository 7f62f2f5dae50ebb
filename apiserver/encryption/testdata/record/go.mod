module record

go 1.26.0

require (
	google.golang.org/grpc v1.82.1
	k8s.io/apimachinery v0.37.2
	k8s.io/apiserver v0.37.2
	k8s.io/kms v0.37.2
)
