package main

import (
	tailscale "tailscale.com/client/tailscale/v2"
)

var policy = map[string]verb{
	"raw": without(func(x ctx, c api) (any, error) { return c.PolicyFile().Raw(x) }),
	"get": without(func(x ctx, c api) (any, error) { return c.PolicyFile().Get(x) }),
	"set": with2(func(x ctx, c api, text, etag string) (any, error) {
		return nil, c.PolicyFile().Set(x, text, etag)
	}),
	"set-and-get": with2(func(x ctx, c api, acl tailscale.ACL, etag string) (any, error) {
		return c.PolicyFile().SetAndGet(x, acl, etag)
	}),
	"validate": with(func(x ctx, c api, text string) (any, error) { return nil, c.PolicyFile().Validate(x, text) }),
}

var dns = map[string]verb{
	"nameservers": without(func(x ctx, c api) (any, error) { return c.DNS().Nameservers(x) }),
	"set-nameservers": with(func(x ctx, c api, servers []string) (any, error) {
		return nil, c.DNS().SetNameservers(x, servers)
	}),
	"search-paths": without(func(x ctx, c api) (any, error) { return c.DNS().SearchPaths(x) }),
	"set-search-paths": with(func(x ctx, c api, paths []string) (any, error) {
		return nil, c.DNS().SetSearchPaths(x, paths)
	}),
	"preferences": without(func(x ctx, c api) (any, error) { return c.DNS().Preferences(x) }),
	"set-preferences": with(func(x ctx, c api, asked tailscale.DNSPreferences) (any, error) {
		return nil, c.DNS().SetPreferences(x, asked)
	}),
	"split": without(func(x ctx, c api) (any, error) { return c.DNS().SplitDNS(x) }),
	"set-split": with(func(x ctx, c api, asked tailscale.SplitDNSRequest) (any, error) {
		return nil, c.DNS().SetSplitDNS(x, asked)
	}),
	"update-split": with(func(x ctx, c api, asked tailscale.SplitDNSRequest) (any, error) {
		return c.DNS().UpdateSplitDNS(x, asked)
	}),
	"configuration": without(func(x ctx, c api) (any, error) { return c.DNS().Configuration(x) }),
	"set-configuration": with(func(x ctx, c api, asked tailscale.DNSConfiguration) (any, error) {
		return nil, c.DNS().SetConfiguration(x, asked)
	}),
}

var settings = map[string]verb{
	"get": without(func(x ctx, c api) (any, error) { return c.TailnetSettings().Get(x) }),
	"update": with(func(x ctx, c api, asked tailscale.UpdateTailnetSettingsRequest) (any, error) {
		return nil, c.TailnetSettings().Update(x, asked)
	}),
}

var webhooks = map[string]verb{
	"list": without(func(x ctx, c api) (any, error) { return c.Webhooks().List(x) }),
	"get":  with(func(x ctx, c api, id string) (any, error) { return c.Webhooks().Get(x, id) }),
	"create": with(func(x ctx, c api, asked tailscale.CreateWebhookRequest) (any, error) {
		return c.Webhooks().Create(x, asked)
	}),
	"update": with2(func(x ctx, c api, id string, to []tailscale.WebhookSubscriptionType) (any, error) {
		return c.Webhooks().Update(x, id, to)
	}),
	"delete": with(func(x ctx, c api, id string) (any, error) { return nil, c.Webhooks().Delete(x, id) }),
	"test":   with(func(x ctx, c api, id string) (any, error) { return nil, c.Webhooks().Test(x, id) }),
	"rotate": with(func(x ctx, c api, id string) (any, error) { return c.Webhooks().RotateSecret(x, id) }),
}
