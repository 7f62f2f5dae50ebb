package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	kmsapi "k8s.io/kms/apis/v2"
)

// toy is a plugin that flips bits. Its key is called by its name; it knows no other.
type toy struct {
	kmsapi.UnimplementedKeyManagementServiceServer
	key string
}

func flipped(in []byte) []byte {
	out := make([]byte, len(in))
	for i := range in {
		out[i] = in[i] ^ 0x5a
	}
	return out
}

func (t *toy) Status(context.Context, *kmsapi.StatusRequest) (*kmsapi.StatusResponse, error) {
	return &kmsapi.StatusResponse{Version: "v2", Healthz: "ok", KeyId: t.key}, nil
}

func (t *toy) Encrypt(_ context.Context, r *kmsapi.EncryptRequest) (*kmsapi.EncryptResponse, error) {
	annotations := map[string][]byte{"toy.example.com": []byte("flipped")}
	return &kmsapi.EncryptResponse{Ciphertext: flipped(r.Plaintext), KeyId: t.key, Annotations: annotations}, nil
}

func (t *toy) Decrypt(_ context.Context, r *kmsapi.DecryptRequest) (*kmsapi.DecryptResponse, error) {
	if r.KeyId == "lost" {
		return nil, status.Error(codes.NotFound, "no key lost")
	}
	return &kmsapi.DecryptResponse{Plaintext: flipped(r.Ciphertext)}, nil
}

// serve lets a toy with that key answer at a socket.
func serve(socket, key string) {
	listener, err := net.Listen("unix", socket)
	must(err)
	server := grpc.NewServer()
	kmsapi.RegisterKeyManagementServiceServer(server, &toy{key: key})
	go func() { must(server.Serve(listener)) }()
}
