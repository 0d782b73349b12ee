BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0009');
CREATE TABLE api_keys (
	id INTEGER NOT NULL, 
	prefix VARCHAR(12) NOT NULL, 
	secret_hash BLOB NOT NULL, 
	expiration DATETIME, 
	created_at DATETIME NOT NULL, 
	last_seen DATETIME, 
	CONSTRAINT pk_api_keys PRIMARY KEY (id), 
	CONSTRAINT uq_api_keys_prefix UNIQUE (prefix)
);
INSERT INTO "api_keys" VALUES(1,'ba9876543210',X'0000000000000000000000000000000000000000000000000000000000000000','2026-05-31 12:30:15.123456','2026-05-01 12:30:15.123456',NULL);
CREATE TABLE audit_events (
	id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	actor TEXT NOT NULL, 
	action VARCHAR(64) NOT NULL, 
	details TEXT NOT NULL, 
	told_at DATETIME, changes TEXT DEFAULT '[]' NOT NULL, 
	CONSTRAINT pk_audit_events PRIMARY KEY (id)
);
INSERT INTO "audit_events" VALUES(1,'2026-05-01 12:30:15.123456','the socket','CREATE_USER','alice',NULL,'[]');
CREATE TABLE counters (
	name VARCHAR(32) NOT NULL, 
	value BIGINT NOT NULL, 
	CONSTRAINT pk_counters PRIMARY KEY (name)
);
INSERT INTO "counters" VALUES('user',2);
INSERT INTO "counters" VALUES('node',7);
INSERT INTO "counters" VALUES('pre_auth_key',1);
INSERT INTO "counters" VALUES('policy',2);
INSERT INTO "counters" VALUES('audit',1);
INSERT INTO "counters" VALUES('api_key',1);
INSERT INTO "counters" VALUES('webhook',1);
CREATE TABLE nodes (
	id INTEGER NOT NULL, 
	machine_key VARCHAR(69) NOT NULL, 
	node_key VARCHAR(72) NOT NULL, 
	disco_key VARCHAR(73) NOT NULL, 
	hostname TEXT NOT NULL, 
	given_name VARCHAR(63) NOT NULL, 
	ipv4 VARCHAR(15), 
	ipv6 VARCHAR(39), 
	user_id INTEGER, 
	tags TEXT NOT NULL, 
	hostinfo TEXT NOT NULL, 
	endpoints TEXT NOT NULL, 
	ephemeral BOOLEAN NOT NULL, 
	register_method VARCHAR(16) NOT NULL, 
	auth_key_id INTEGER, 
	approved_routes TEXT NOT NULL, 
	expiry DATETIME, 
	last_seen DATETIME, 
	created_at DATETIME NOT NULL, authorized BOOLEAN DEFAULT 1 NOT NULL, online BOOLEAN DEFAULT 0 NOT NULL, cap_version INTEGER DEFAULT '0' NOT NULL, attributes TEXT DEFAULT '{}' NOT NULL, 
	CONSTRAINT pk_nodes PRIMARY KEY (id), 
	CONSTRAINT uq_nodes_node_key UNIQUE (node_key), 
	CONSTRAINT uq_nodes_given_name UNIQUE (given_name), 
	CONSTRAINT uq_nodes_ipv4 UNIQUE (ipv4), 
	CONSTRAINT uq_nodes_ipv6 UNIQUE (ipv6), 
	CONSTRAINT fk_nodes_user_id FOREIGN KEY(user_id) REFERENCES users (id), 
	CONSTRAINT fk_nodes_auth_key_id FOREIGN KEY(auth_key_id) REFERENCES pre_auth_keys (id)
);
INSERT INTO "nodes" VALUES(1,'mkey:0101010101010101010101010101010101010101010101010101010101010101','nodekey:1111111111111111111111111111111111111111111111111111111111111111','discokey:2121212121212121212121212121212121212121212121212121212121212121','host1','laptop','100.64.0.1','fd7a:115c:a1e0::1',1,'[]','{"Hostname": "Laptop of Ännchen", "OS": "linux", "OSVersion": "6.1", "IPNVersion": "1.80.3", "RoutableIPs": ["10.20.0.0/16"], "Services": [{"Proto": "tcp", "Port": 22}], "NetInfo": {"PreferredDERP": 999, "WorkingUDP": false}}','["192.0.2.1:41641"]',0,'authkey',1,'["10.20.0.0/16"]','2026-05-31 12:30:15.123456','2026-05-31 12:30:15.123456','2026-05-01 12:30:15.123456',1,0,113,'{}');
INSERT INTO "nodes" VALUES(2,'mkey:0202020202020202020202020202020202020202020202020202020202020202','nodekey:1212121212121212121212121212121212121212121212121212121212121212','discokey:2222222222222222222222222222222222222222222222222222222222222222','host2','host2','100.64.0.2',NULL,NULL,'["tag:ci"]','{"Hostname": "Laptop of Ännchen", "OS": "linux", "OSVersion": "6.1", "IPNVersion": "1.80.3", "RoutableIPs": ["10.20.0.0/16"], "Services": [{"Proto": "tcp", "Port": 22}], "NetInfo": {"PreferredDERP": 999, "WorkingUDP": false}}','["192.0.2.2:41641"]',0,'cli',NULL,'[]',NULL,'2026-05-31 12:30:15.123456','2026-05-01 12:30:15.123456',1,0,113,'{}');
INSERT INTO "nodes" VALUES(3,'mkey:0303030303030303030303030303030303030303030303030303030303030303','nodekey:1313131313131313131313131313131313131313131313131313131313131313','discokey:2323232323232323232323232323232323232323232323232323232323232323','host3','host3','100.64.0.3','fd7a:115c:a1e0::3',2,'[]','{"Hostname": "Laptop of Ännchen", "OS": "linux", "OSVersion": "6.1", "IPNVersion": "1.80.3", "RoutableIPs": ["10.20.0.0/16"], "Services": [{"Proto": "tcp", "Port": 22}], "NetInfo": {"PreferredDERP": 999, "WorkingUDP": false}}','["192.0.2.3:41641"]',1,'oidc',NULL,'[]',NULL,'2026-05-31 12:30:15.123456','2026-05-01 12:30:15.123456',0,0,113,'{}');
CREATE TABLE policies (
	id INTEGER NOT NULL, 
	data TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_policies PRIMARY KEY (id)
);
INSERT INTO "policies" VALUES(1,'{} // at first
','2026-05-01 12:30:15.123456');
INSERT INTO "policies" VALUES(2,'{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}','2026-05-31 12:30:15.123456');
CREATE TABLE pre_auth_keys (
	id INTEGER NOT NULL, 
	prefix VARCHAR(12) NOT NULL, 
	secret_hash BLOB NOT NULL, 
	user_id INTEGER, 
	tags TEXT NOT NULL, 
	reusable BOOLEAN NOT NULL, 
	ephemeral BOOLEAN NOT NULL, 
	used BOOLEAN NOT NULL, 
	expiration DATETIME, 
	created_at DATETIME NOT NULL, preauthorized BOOLEAN DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_pre_auth_keys PRIMARY KEY (id), 
	CONSTRAINT uq_pre_auth_keys_prefix UNIQUE (prefix), 
	CONSTRAINT fk_pre_auth_keys_user_id FOREIGN KEY(user_id) REFERENCES users (id)
);
INSERT INTO "pre_auth_keys" VALUES(1,'0123456789ab',X'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F',1,'[]',1,0,1,'2026-05-31 12:30:15.123456','2026-05-01 12:30:15.123456',1);
CREATE TABLE preferences (
	id INTEGER NOT NULL, 
	device_approval BOOLEAN NOT NULL, choices TEXT DEFAULT '{}' NOT NULL, 
	CONSTRAINT pk_preferences PRIMARY KEY (id)
);
INSERT INTO "preferences" VALUES(1,1,'{"magic_dns":false}');
CREATE TABLE users (
	id INTEGER NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	display_name TEXT NOT NULL, 
	email TEXT NOT NULL, 
	provider VARCHAR(32) NOT NULL, 
	provider_identifier TEXT, 
	profile_pic_url TEXT NOT NULL, 
	created_at DATETIME NOT NULL, groups TEXT DEFAULT '[]' NOT NULL, sealed_refresh BLOB, 
	CONSTRAINT pk_users PRIMARY KEY (id), 
	CONSTRAINT uq_users_provider_identifier UNIQUE (provider_identifier)
);
INSERT INTO "users" VALUES(1,'alice','Alice','alice@example.com','',NULL,'','2026-05-01 12:30:15.123456','["eng"]',NULL);
INSERT INTO "users" VALUES(2,'bjørn','Bjørn','bjørn@example.com','oidc','https://idp.example/2','','2026-05-01 12:30:15.123456','["eng"]',X'007365616C6564');
CREATE TABLE webhooks (
	id INTEGER NOT NULL, 
	url TEXT NOT NULL, 
	provider VARCHAR(32) NOT NULL, 
	subscriptions TEXT NOT NULL, 
	sealed_secret BLOB NOT NULL, 
	creator TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	modified_at DATETIME NOT NULL, 
	CONSTRAINT pk_webhooks PRIMARY KEY (id)
);
INSERT INTO "webhooks" VALUES(1,'https://receiver.example/hook','slack','["nodeCreated"]',X'007365616C6564','alice','2026-05-01 12:30:15.123456','2026-05-01 12:30:15.123456');
CREATE UNIQUE INDEX uq_users_local_name ON users (name) WHERE provider_identifier IS NULL;
CREATE UNIQUE INDEX uq_nodes_machine_user ON nodes (machine_key, user_id);
CREATE UNIQUE INDEX uq_nodes_machine_tagged ON nodes (machine_key) WHERE user_id IS NULL;
COMMIT;
