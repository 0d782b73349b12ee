// Gosdk calls one method of the official Go client for Tailscale's API and prints what the client made of the answer.
//
//	gosdk AREA VERB [JSON ARGUMENT...]
//
// The server is TS_BASE_URL; the login is TS_API_KEY, or TS_OAUTH_SECRET with the scopes in TS_OAUTH_SCOPES. Stdout is
// the typed result as JSON. An error is {"error", "status", "notFound"} and exit code 1.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	tailscale "tailscale.com/client/tailscale/v2"
)

// A verb of an area, with its arguments as they were given.
type verb func(ctx context.Context, c *tailscale.Client, args []string) (any, error)

var areas = map[string]map[string]verb{
	"devices":  devices,
	"users":    users,
	"keys":     keys,
	"policy":   policy,
	"dns":      dns,
	"settings": settings,
	"webhooks": webhooks,
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		told := map[string]any{"error": err.Error(), "notFound": tailscale.IsNotFound(err)}
		var answered tailscale.APIError
		if errors.As(err, &answered) {
			told["status"] = answered.Status
			told["data"] = answered.Data
		}
		json.NewEncoder(os.Stdout).Encode(told)
		os.Exit(1)
	}
}

func run(words []string) error {
	if len(words) < 2 || areas[words[0]][words[1]] == nil {
		return fmt.Errorf("no such area and verb: %s", strings.Join(words, " "))
	}
	client, err := client()
	if err != nil {
		return err
	}
	result, err := areas[words[0]][words[1]](context.Background(), client, words[2:])
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func client() (*tailscale.Client, error) {
	base, err := url.Parse(os.Getenv("TS_BASE_URL"))
	if err != nil {
		return nil, err
	}
	client := &tailscale.Client{BaseURL: base, Tailnet: "-", APIKey: os.Getenv("TS_API_KEY")}
	if secret := os.Getenv("TS_OAUTH_SECRET"); secret != "" {
		client.Auth = &tailscale.OAuth{
			ClientID:     "ignored",
			ClientSecret: secret,
			Scopes:       strings.Fields(os.Getenv("TS_OAUTH_SCOPES")),
		}
	}
	return client, nil
}

// argument reads one argument as JSON.
func argument[T any](args []string, at int) (T, error) {
	var value T
	if at >= len(args) {
		return value, fmt.Errorf("argument %d is missing", at+1)
	}
	err := json.Unmarshal([]byte(args[at]), &value)
	return value, err
}

// with makes a verb of a method with one argument.
func with[A any](call func(context.Context, *tailscale.Client, A) (any, error)) verb {
	return func(ctx context.Context, c *tailscale.Client, args []string) (any, error) {
		value, err := argument[A](args, 0)
		if err != nil {
			return nil, err
		}
		return call(ctx, c, value)
	}
}

// with2 makes a verb of a method with two arguments.
func with2[A, B any](call func(context.Context, *tailscale.Client, A, B) (any, error)) verb {
	return func(ctx context.Context, c *tailscale.Client, args []string) (any, error) {
		first, err := argument[A](args, 0)
		if err != nil {
			return nil, err
		}
		second, err := argument[B](args, 1)
		if err != nil {
			return nil, err
		}
		return call(ctx, c, first, second)
	}
}

// without makes a verb of a method with no argument.
func without(call func(context.Context, *tailscale.Client) (any, error)) verb {
	return func(ctx context.Context, c *tailscale.Client, _ []string) (any, error) { return call(ctx, c) }
}
