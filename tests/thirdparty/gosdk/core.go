package main

import (
	"context"

	tailscale "tailscale.com/client/tailscale/v2"
)

type ctx = context.Context
type api = *tailscale.Client

var devices = map[string]verb{
	"list": without(func(x ctx, c api) (any, error) { return c.Devices().List(x) }),
	"list-all": without(func(x ctx, c api) (any, error) {
		return c.Devices().List(x, tailscale.WithFields(tailscale.IncludeFieldsAll))
	}),
	"list-where": with2(func(x ctx, c api, field string, values []string) (any, error) {
		return c.Devices().List(x, tailscale.WithFilter(field, values))
	}),
	"get":     with(func(x ctx, c api, id string) (any, error) { return c.Devices().Get(x, id) }),
	"get-all": with(func(x ctx, c api, id string) (any, error) { return c.Devices().GetWithAllFields(x, id) }),
	"delete":  with(func(x ctx, c api, id string) (any, error) { return nil, c.Devices().Delete(x, id) }),
	"authorize": with2(func(x ctx, c api, id string, on bool) (any, error) {
		return nil, c.Devices().SetAuthorized(x, id, on)
	}),
	"name": with2(func(x ctx, c api, id, name string) (any, error) { return nil, c.Devices().SetName(x, id, name) }),
	"tags": with2(func(x ctx, c api, id string, tags []string) (any, error) {
		return nil, c.Devices().SetTags(x, id, tags)
	}),
	"key": with2(func(x ctx, c api, id string, key tailscale.DeviceKey) (any, error) {
		return nil, c.Devices().SetKey(x, id, key)
	}),
	"ip": with2(func(x ctx, c api, id, ip string) (any, error) { return nil, c.Devices().SetIPv4Address(x, id, ip) }),
	"routes": with(func(x ctx, c api, id string) (any, error) {
		return c.Devices().SubnetRoutes(x, id)
	}),
	"set-routes": with2(func(x ctx, c api, id string, routes []string) (any, error) {
		return nil, c.Devices().SetSubnetRoutes(x, id, routes)
	}),
	"attributes": with(func(x ctx, c api, id string) (any, error) {
		return c.Devices().GetPostureAttributes(x, id)
	}),
	"set-attribute": with2(func(x ctx, c api, id string, pair [2]any) (any, error) {
		request := tailscale.DevicePostureAttributeRequest{Value: pair[1], Comment: "by the Go client"}
		return nil, c.Devices().SetPostureAttribute(x, id, pair[0].(string), request)
	}),
	"delete-attribute": with2(func(x ctx, c api, id, name string) (any, error) {
		return nil, c.Devices().DeletePostureAttribute(x, id, name)
	}),
}

var users = map[string]verb{
	"list": without(func(x ctx, c api) (any, error) { return c.Users().List(x, nil, nil) }),
	"list-role": with(func(x ctx, c api, role tailscale.UserRole) (any, error) {
		return c.Users().List(x, nil, &role)
	}),
	"get": with(func(x ctx, c api, id string) (any, error) { return c.Users().Get(x, id) }),
}

var keys = map[string]verb{
	"list": without(func(x ctx, c api) (any, error) { return c.Keys().List(x, true) }),
	"get":  with(func(x ctx, c api, id string) (any, error) { return c.Keys().Get(x, id) }),
	"create": with(func(x ctx, c api, asked tailscale.CreateKeyRequest) (any, error) {
		return c.Keys().CreateAuthKey(x, asked)
	}),
	"create-client": with(func(x ctx, c api, asked tailscale.CreateOAuthClientRequest) (any, error) {
		return c.Keys().CreateOAuthClient(x, asked)
	}),
	"set-client": with2(func(x ctx, c api, id string, asked tailscale.SetOAuthClientRequest) (any, error) {
		return c.Keys().SetOAuthClient(x, id, asked)
	}),
	"create-federated": with(func(x ctx, c api, asked tailscale.CreateFederatedIdentityRequest) (any, error) {
		return c.Keys().CreateFederatedIdentity(x, asked)
	}),
	"delete": with(func(x ctx, c api, id string) (any, error) { return nil, c.Keys().Delete(x, id) }),
}
