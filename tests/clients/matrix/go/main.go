// Drives the AWS SDK for Go v2: a JSON command a line in, a JSON answer a line out.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

var ctx = context.Background()

type driver struct {
	client *s3.Client
	bucket string
}

type request map[string]string

type answer struct {
	Version string           `json:"version,omitempty"`
	Sizes   map[string]int64 `json:"sizes,omitempty"`
	Error   string           `json:"error,omitempty"`
}

func main() {
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String(os.Args[1]),
		UsePathStyle: true,
		Region:       os.Getenv("AWS_REGION"),
		Credentials: credentials.NewStaticCredentialsProvider(
			os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), ""),
	})
	d := driver{client, os.Args[2]}
	lines := bufio.NewScanner(os.Stdin)
	output := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var given request
		var done answer
		err := json.Unmarshal(lines.Bytes(), &given)
		if err == nil {
			done, err = d.call(given)
		}
		if err != nil {
			done = answer{Error: err.Error()}
		}
		if output.Encode(done) != nil {
			return
		}
	}
}

func (d driver) call(given request) (answer, error) {
	key := aws.String(given["key"])
	switch given["do"] {
	case "version":
		return answer{Version: version()}, nil
	case "put":
		data, err := os.ReadFile(given["path"])
		if err != nil {
			return answer{}, err
		}
		_, err = d.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &d.bucket, Key: key, Body: bytes.NewReader(data)})
		return answer{}, err
	case "get":
		return answer{}, d.download(key, given["path"])
	case "range":
		span := fmt.Sprintf("bytes=%s-%s", given["first"], given["last"])
		got, err := d.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &d.bucket, Key: key, Range: &span})
		if err != nil {
			return answer{}, err
		}
		defer got.Body.Close()
		data, err := io.ReadAll(got.Body)
		if err != nil {
			return answer{}, err
		}
		return answer{}, os.WriteFile(given["path"], data, 0o600)
	case "multipart":
		return answer{}, d.upload(key, given["path"], given["part"])
	case "list":
		return d.list(given["prefix"])
	case "copy":
		source := d.bucket + "/" + escape(given["source"])
		_, err := d.client.CopyObject(ctx, &s3.CopyObjectInput{
			Bucket: &d.bucket, Key: aws.String(given["target"]), CopySource: &source})
		return answer{}, err
	case "delete":
		_, err := d.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &d.bucket, Key: key})
		return answer{}, err
	}
	return answer{}, fmt.Errorf("no command %q", given["do"])
}

// download fetches ranges in parallel.
func (d driver) download(key *string, path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = manager.NewDownloader(d.client).Download(ctx, file, &s3.GetObjectInput{Bucket: &d.bucket, Key: key})
	return err
}

func (d driver) upload(key *string, path, part string) error {
	size, err := strconv.ParseInt(part, 10, 64)
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	uploader := manager.NewUploader(d.client, func(u *manager.Uploader) { u.PartSize = size })
	_, err = uploader.Upload(ctx, &s3.PutObjectInput{Bucket: &d.bucket, Key: key, Body: file})
	return err
}

func (d driver) list(prefix string) (answer, error) {
	sizes := map[string]int64{}
	pages := s3.NewListObjectsV2Paginator(d.client, &s3.ListObjectsV2Input{Bucket: &d.bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return answer{}, err
		}
		for _, item := range page.Contents {
			sizes[aws.ToString(item.Key)] = aws.ToInt64(item.Size)
		}
	}
	return answer{Sizes: sizes}, nil
}

// escape writes a key for x-amz-copy-source: url.PathEscape leaves the plus sign, which S3 reads as a space.
func escape(key string) string {
	parts := strings.Split(key, "/")
	for index, part := range parts {
		parts[index] = strings.ReplaceAll(url.PathEscape(part), "+", "%2B")
	}
	return strings.Join(parts, "/")
}

func version() string {
	build, _ := debug.ReadBuildInfo()
	for _, module := range build.Deps {
		if module.Path == "github.com/aws/aws-sdk-go-v2/service/s3" {
			return strings.TrimPrefix(module.Version, "v")
		}
	}
	return ""
}
