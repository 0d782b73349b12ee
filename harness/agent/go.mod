module harness/agent

go 1.23
