CREATE TABLE public.access_tokens (
    id bigint NOT NULL,
    prefix character varying(12) NOT NULL,
    secret_hash bytea NOT NULL,
    client_id bigint NOT NULL,
    scopes text NOT NULL,
    tags text NOT NULL,
    any_tag boolean NOT NULL,
    expiration timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.api_keys (
    id bigint NOT NULL,
    prefix character varying(12) NOT NULL,
    secret_hash bytea NOT NULL,
    expiration timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    last_seen timestamp with time zone,
    user_id bigint
);
CREATE TABLE public.audit_events (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    action character varying(64) NOT NULL,
    details text NOT NULL,
    told_at timestamp with time zone,
    changes text DEFAULT '[]'::text NOT NULL
);
CREATE TABLE public.counters (
    name character varying(32) NOT NULL,
    value bigint NOT NULL
);
CREATE TABLE public.elections (
    id bigint NOT NULL,
    held text NOT NULL
);
CREATE TABLE public.nodes (
    id bigint NOT NULL,
    machine_key character varying(69) NOT NULL,
    node_key character varying(72) NOT NULL,
    disco_key character varying(73) NOT NULL,
    hostname text NOT NULL,
    given_name character varying(63) NOT NULL,
    ipv4 character varying(15),
    ipv6 character varying(39),
    user_id bigint,
    tags text NOT NULL,
    hostinfo text NOT NULL,
    endpoints text NOT NULL,
    ephemeral boolean NOT NULL,
    register_method character varying(16) NOT NULL,
    auth_key_id bigint,
    approved_routes text NOT NULL,
    expiry timestamp with time zone,
    last_seen timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    authorized boolean DEFAULT true NOT NULL,
    online boolean DEFAULT false NOT NULL,
    cap_version integer DEFAULT 0 NOT NULL,
    attributes text DEFAULT '{}'::text NOT NULL,
    exit_dns text DEFAULT '[]'::text NOT NULL
);
CREATE TABLE public.oauth_clients (
    id bigint NOT NULL,
    prefix character varying(12) NOT NULL,
    secret_hash bytea NOT NULL,
    scopes text NOT NULL,
    tags text NOT NULL,
    description text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone
);
CREATE TABLE public.policies (
    id bigint NOT NULL,
    data text NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.pre_auth_keys (
    id bigint NOT NULL,
    prefix character varying(12) NOT NULL,
    secret_hash bytea NOT NULL,
    user_id bigint,
    tags text NOT NULL,
    reusable boolean NOT NULL,
    ephemeral boolean NOT NULL,
    used boolean NOT NULL,
    expiration timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    preauthorized boolean DEFAULT false NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    revoked timestamp with time zone,
    spent_at timestamp with time zone
);
CREATE TABLE public.preferences (
    id bigint NOT NULL,
    device_approval boolean NOT NULL,
    choices text DEFAULT '{}'::text NOT NULL
);
CREATE TABLE public.users (
    id bigint NOT NULL,
    name character varying(255) NOT NULL,
    display_name text NOT NULL,
    email text NOT NULL,
    provider character varying(32) NOT NULL,
    provider_identifier text,
    profile_pic_url text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    groups text DEFAULT '[]'::text NOT NULL,
    sealed_refresh bytea,
    role character varying(16) DEFAULT 'member'::character varying NOT NULL
);
CREATE TABLE public.webhooks (
    id bigint NOT NULL,
    url text NOT NULL,
    provider character varying(32) NOT NULL,
    subscriptions text NOT NULL,
    sealed_secret bytea NOT NULL,
    creator text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    modified_at timestamp with time zone NOT NULL
);
INSERT INTO public.access_tokens VALUES (1, 'abcdefabcdef', '\x0000000000000000000000000000000000000000000000000000000000000000', 1, '["devices:core"]', '["tag:ci"]', false, '2026-05-31 12:30:15.123456+00', '2026-05-01 12:30:15.123456+00');
INSERT INTO public.alembic_version VALUES ('0014');
INSERT INTO public.api_keys VALUES (1, 'ba9876543210', '\x0000000000000000000000000000000000000000000000000000000000000000', '2026-05-31 12:30:15.123456+00', '2026-05-01 12:30:15.123456+00', NULL, 1);
INSERT INTO public.audit_events VALUES (1, '2026-05-01 12:30:15.123456+00', 'the socket', 'CREATE_USER', 'alice', NULL, '[]');
INSERT INTO public.counters VALUES ('user', 2);
INSERT INTO public.counters VALUES ('node', 7);
INSERT INTO public.counters VALUES ('pre_auth_key', 1);
INSERT INTO public.counters VALUES ('policy', 2);
INSERT INTO public.counters VALUES ('audit', 1);
INSERT INTO public.counters VALUES ('api_key', 1);
INSERT INTO public.counters VALUES ('webhook', 1);
INSERT INTO public.counters VALUES ('oauth_client', 1);
INSERT INTO public.counters VALUES ('access_token', 1);
INSERT INTO public.elections VALUES (1, '[]');
INSERT INTO public.nodes VALUES (1, 'mkey:0101010101010101010101010101010101010101010101010101010101010101', 'nodekey:1111111111111111111111111111111111111111111111111111111111111111', 'discokey:2121212121212121212121212121212121212121212121212121212121212121', 'host1', 'laptop', '100.64.0.1', 'fd7a:115c:a1e0::1', 1, '[]', '{"Hostname": "Laptop of Ännchen", "OS": "linux", "OSVersion": "6.1", "IPNVersion": "1.80.3", "RoutableIPs": ["10.20.0.0/16"], "Services": [{"Proto": "tcp", "Port": 22}], "NetInfo": {"PreferredDERP": 999, "WorkingUDP": false}}', '["192.0.2.1:41641"]', false, 'authkey', 1, '["10.20.0.0/16"]', '2026-05-31 12:30:15.123456+00', '2026-05-31 12:30:15.123456+00', '2026-05-01 12:30:15.123456+00', true, false, 113, '{}', '[]');
INSERT INTO public.nodes VALUES (2, 'mkey:0202020202020202020202020202020202020202020202020202020202020202', 'nodekey:1212121212121212121212121212121212121212121212121212121212121212', 'discokey:2222222222222222222222222222222222222222222222222222222222222222', 'host2', 'host2', '100.64.0.2', NULL, NULL, '["tag:ci"]', '{"Hostname": "Laptop of Ännchen", "OS": "linux", "OSVersion": "6.1", "IPNVersion": "1.80.3", "RoutableIPs": ["10.20.0.0/16"], "Services": [{"Proto": "tcp", "Port": 22}], "NetInfo": {"PreferredDERP": 999, "WorkingUDP": false}}', '["192.0.2.2:41641"]', false, 'cli', NULL, '[]', NULL, '2026-05-31 12:30:15.123456+00', '2026-05-01 12:30:15.123456+00', true, false, 113, '{}', '[]');
INSERT INTO public.nodes VALUES (3, 'mkey:0303030303030303030303030303030303030303030303030303030303030303', 'nodekey:1313131313131313131313131313131313131313131313131313131313131313', 'discokey:2323232323232323232323232323232323232323232323232323232323232323', 'host3', 'host3', '100.64.0.3', 'fd7a:115c:a1e0::3', 2, '[]', '{"Hostname": "Laptop of Ännchen", "OS": "linux", "OSVersion": "6.1", "IPNVersion": "1.80.3", "RoutableIPs": ["10.20.0.0/16"], "Services": [{"Proto": "tcp", "Port": 22}], "NetInfo": {"PreferredDERP": 999, "WorkingUDP": false}}', '["192.0.2.3:41641"]', true, 'oidc', NULL, '[]', NULL, '2026-05-31 12:30:15.123456+00', '2026-05-01 12:30:15.123456+00', false, false, 113, '{}', '[]');
INSERT INTO public.oauth_clients VALUES (1, 'k0123456789a', '\x0000000000000000000000000000000000000000000000000000000000000000', '["devices:core"]', '["tag:ci"]', 'CI', '2026-05-01 12:30:15.123456+00', NULL);
INSERT INTO public.policies VALUES (1, '{} // at first
', '2026-05-01 12:30:15.123456+00');
INSERT INTO public.policies VALUES (2, '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}', '2026-05-31 12:30:15.123456+00');
INSERT INTO public.pre_auth_keys VALUES (1, '0123456789ab', '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 1, '[]', true, false, true, '2026-05-31 12:30:15.123456+00', '2026-05-01 12:30:15.123456+00', true, 'for the laptops', NULL, NULL);
INSERT INTO public.preferences VALUES (1, true, '{"magic_dns":false}');
INSERT INTO public.users VALUES (1, 'alice', 'Alice', 'alice@example.com', '', NULL, '', '2026-05-01 12:30:15.123456+00', '["eng"]', NULL, 'owner');
INSERT INTO public.users VALUES (2, 'bjørn', 'Bjørn', 'bjørn@example.com', 'oidc', 'https://idp.example/2', '', '2026-05-01 12:30:15.123456+00', '["eng"]', '\x007365616c6564', 'member');
INSERT INTO public.webhooks VALUES (1, 'https://receiver.example/hook', 'slack', '["nodeCreated"]', '\x007365616c6564', 'alice', '2026-05-01 12:30:15.123456+00', '2026-05-01 12:30:15.123456+00');
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.access_tokens
    ADD CONSTRAINT pk_access_tokens PRIMARY KEY (id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT pk_api_keys PRIMARY KEY (id);
ALTER TABLE ONLY public.audit_events
    ADD CONSTRAINT pk_audit_events PRIMARY KEY (id);
ALTER TABLE ONLY public.counters
    ADD CONSTRAINT pk_counters PRIMARY KEY (name);
ALTER TABLE ONLY public.elections
    ADD CONSTRAINT pk_elections PRIMARY KEY (id);
ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT pk_nodes PRIMARY KEY (id);
ALTER TABLE ONLY public.oauth_clients
    ADD CONSTRAINT pk_oauth_clients PRIMARY KEY (id);
ALTER TABLE ONLY public.policies
    ADD CONSTRAINT pk_policies PRIMARY KEY (id);
ALTER TABLE ONLY public.pre_auth_keys
    ADD CONSTRAINT pk_pre_auth_keys PRIMARY KEY (id);
ALTER TABLE ONLY public.preferences
    ADD CONSTRAINT pk_preferences PRIMARY KEY (id);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT pk_users PRIMARY KEY (id);
ALTER TABLE ONLY public.webhooks
    ADD CONSTRAINT pk_webhooks PRIMARY KEY (id);
ALTER TABLE ONLY public.access_tokens
    ADD CONSTRAINT uq_access_tokens_prefix UNIQUE (prefix);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT uq_api_keys_prefix UNIQUE (prefix);
ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT uq_nodes_given_name UNIQUE (given_name);
ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT uq_nodes_ipv4 UNIQUE (ipv4);
ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT uq_nodes_ipv6 UNIQUE (ipv6);
ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT uq_nodes_node_key UNIQUE (node_key);
ALTER TABLE ONLY public.oauth_clients
    ADD CONSTRAINT uq_oauth_clients_prefix UNIQUE (prefix);
ALTER TABLE ONLY public.pre_auth_keys
    ADD CONSTRAINT uq_pre_auth_keys_prefix UNIQUE (prefix);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT uq_users_provider_identifier UNIQUE (provider_identifier);
CREATE UNIQUE INDEX uq_nodes_machine_tagged ON public.nodes USING btree (machine_key) WHERE (user_id IS NULL);
CREATE UNIQUE INDEX uq_nodes_machine_user ON public.nodes USING btree (machine_key, user_id);
CREATE UNIQUE INDEX uq_users_local_name ON public.users USING btree (name) WHERE (provider_identifier IS NULL);
CREATE UNIQUE INDEX uq_users_owner ON public.users USING btree (role) WHERE ((role)::text = 'owner'::text);
ALTER TABLE ONLY public.access_tokens
    ADD CONSTRAINT fk_access_tokens_client_id FOREIGN KEY (client_id) REFERENCES public.oauth_clients(id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT fk_api_keys_user_id FOREIGN KEY (user_id) REFERENCES public.users(id);
ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT fk_nodes_auth_key_id FOREIGN KEY (auth_key_id) REFERENCES public.pre_auth_keys(id);
ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT fk_nodes_user_id FOREIGN KEY (user_id) REFERENCES public.users(id);
ALTER TABLE ONLY public.pre_auth_keys
    ADD CONSTRAINT fk_pre_auth_keys_user_id FOREIGN KEY (user_id) REFERENCES public.users(id);
