// Command bootstrap says when its handler was entered and stays for a while.
// Run by hand, it says when it was reached.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

type event struct {
	Seconds float64 `json:"seconds"`
}

func now() float64 {
	return float64(time.Now().UnixNano()) / 1e9
}

func stay(asked event) (float64, error) {
	entered := now()
	time.Sleep(time.Duration(asked.Seconds * float64(time.Second)))
	return entered, nil
}

func main() {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		fmt.Printf("%f\n", now())
		return
	}
	lambda.Start(stay)
}
