// Command bootstrap writes the SHA-256 of each object under `files/` into `sha256/`, as a line that
// `sha256sum --check` reads.
//
// An object is hashed as it comes: memory stays the same whatever its size.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"path"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

type handler struct {
	client *s3.Client
}

// handle is the Lambda handler.
func (h handler) handle(ctx context.Context, event events.S3Event) error {
	for _, record := range event.Records {
		bucket, key := record.S3.Bucket.Name, record.S3.Object.URLDecodedKey
		sum, err := h.sum(ctx, bucket, key)
		if err != nil {
			return fmt.Errorf("hashing %s/%s: %w", bucket, key, err)
		}
		if err := h.write(ctx, bucket, key, sum); err != nil {
			return fmt.Errorf("writing the checksum of %s/%s: %w", bucket, key, err)
		}
		log.Printf("%s  %s", sum, key)
	}
	return nil
}

// sum hashes an object, and gives the hash in hexadecimal.
func (h handler) sum(ctx context.Context, bucket, key string) (string, error) {
	object, err := h.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return "", err
	}
	defer object.Body.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, object.Body); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// write puts the line beside the object: under another prefix, so that it triggers nothing.
func (h handler) write(ctx context.Context, bucket, key, sum string) error {
	_, err := h.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket:      &bucket,
		Key:         aws.String("sha256/" + strings.TrimPrefix(key, "files/") + ".sha256"),
		Body:        strings.NewReader(fmt.Sprintf("%s  %s\n", sum, path.Base(key))),
		ContentType: aws.String("text/plain"),
	})
	return err
}

func main() {
	loaded, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	lambda.Start(handler{s3.NewFromConfig(loaded)}.handle)
}
