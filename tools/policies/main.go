// Enforces NetworkPolicies on a cluster of one machine: an agent of the Kubernetes project, told where the API server is.
//
// The first packet of every connection is judged here, in a netfilter queue; who hands packets to the queue is the cluster's
// own business (tests/cluster/policies.py), for not every kernel has the nftables expression that the agent would do it with.
package main

import (
	"context"
	"flag"
	"os/signal"
	"syscall"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	machine := flag.String("machine", "", "the name of this machine in the cluster")
	queue := flag.Int("queue", 100, "the number of the netfilter queue")
	klog.InitFlags(nil)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		klog.Fatal(err)
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		klog.Fatal(err)
	}
	shared := informers.NewSharedInformerFactory(clients, 0)
	// Without NRI it would fall over the first address that is no pod's; it does without a runtime that has none.
	controller, err := networkpolicy.NewController(
		clients,
		shared.Networking().V1().NetworkPolicies(),
		shared.Core().V1().Namespaces(),
		shared.Core().V1().Pods(),
		nil, nil, nil, nil,
		networkpolicy.Config{NodeName: *machine, QueueID: *queue},
	)
	if err != nil {
		klog.Fatal(err)
	}
	shared.Start(ctx.Done())
	if err := controller.Run(ctx); err != nil {
		klog.Fatal(err)
	}
}
