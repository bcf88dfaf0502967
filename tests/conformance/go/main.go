// Command bootstrap is what every language does for the conformance suite, in Go.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

type request struct {
	events.S3Event
	Do      string
	Seconds float64
	Size    int
}

var (
	client *s3.Client
	calls  int
)

func handle(ctx context.Context, raw json.RawMessage) (any, error) {
	calls++
	var event request
	if err := json.Unmarshal(raw, &event); err != nil {
		return nil, err
	}
	switch event.Do {
	case "echo":
		return raw, nil
	case "fail":
		return nil, errors.New("no bread here")
	case "panic":
		panic("no bread at all")
	case "sleep":
		time.Sleep(time.Duration(event.Seconds * float64(time.Second)))
	case "exit":
		os.Exit(3)
	case "environment":
		return environment(), nil
	case "print":
		fmt.Println("printed")
		fmt.Fprintln(os.Stderr, "complained")
	case "count":
		return calls, nil
	case "large":
		return strings.Repeat("x", event.Size), nil
	case "context":
		return told(ctx), nil
	}
	return nil, copyAll(ctx, event.Records)
}

func environment() map[string]string {
	found := map[string]string{}
	for _, each := range os.Environ() {
		name, text, _ := strings.Cut(each, "=")
		found[name] = text
	}
	return found
}

func told(ctx context.Context) map[string]any {
	found, _ := lambdacontext.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	return map[string]any{
		"id":       found.AwsRequestID,
		"arn":      found.InvokedFunctionArn,
		"function": lambdacontext.FunctionName,
		"left":     time.Until(deadline).Milliseconds(),
	}
}

// copyAll copies `in/<name>` to `out/<name>`.
func copyAll(ctx context.Context, records []events.S3EventRecord) error {
	for _, record := range records {
		bucket, key := record.S3.Bucket.Name, record.S3.Object.URLDecodedKey
		found, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
		if err != nil {
			return err
		}
		body, err := io.ReadAll(found.Body)
		if err != nil {
			return err
		}
		target := aws.String(strings.Replace(key, "in/", "out/", 1))
		put := &s3.PutObjectInput{Bucket: &bucket, Key: target, Body: bytes.NewReader(body)}
		if _, err := client.PutObject(ctx, put); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if os.Getenv("_HANDLER") == "broken" {
		fmt.Fprintln(os.Stderr, "cannot begin")
		os.Exit(1)
	}
	loaded, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		panic(err)
	}
	client = s3.NewFromConfig(loaded)
	lambda.Start(handle)
}
