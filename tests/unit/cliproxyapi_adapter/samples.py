"""A config of a user's, and what CLIProxyAPI 7.2.140 really made of its running copy."""

USER = b"""\
# top comment
host: localhost   # h
remote-management:
    # indented comment
    allow-remote: false
    secret-key: 'hunter2'   # my key
auth-dir: acc
api-keys:
- os.environ/FIRST_KEY     # first

- "k-two-is-long"
request-retry: 1   # tries


openai-compatibility:
  - name: "local"
    base-url: "http://127.0.0.1:28999/v1"
    api-key-entries:
      - api-key: "os.environ/UPSTREAM_KEY"   # secret
    models:
      - name: "up-model"
        alias: "m"
# end
"""
ENV = {"FIRST_KEY": "value-of-first", "UPSTREAM_KEY": "value-of-upstream"}

#: What a management call made it write: api-keys.1 replaced, request-retry 3, its defaults spelled out.
COPY = """\
port: 18317
# top comment
host: "127.0.0.1" # h
remote-management:
# indented comment
  allow-remote: false
  secret-key: '$2a$10$zx3xZspoS2GIEqR40faFKOg1ToJCte910jxaoMrnWT5yNa0t0Voya' # my key
auth-dir: "{root}/acc"
api-keys:
  - "value-of-first" # first
  - k-three-is-new
request-retry: 3 # tries
openai-compatibility:
  - name: "local"
    base-url: "http://127.0.0.1:28999/v1"
    api-key-entries:
      - api-key: "value-of-upstream" # secret
    models:
      - name: "up-model"
        alias: "m"
# end

credential-concurrency:
  cpa-heartbeat-timeout: 3s
  cpa-cancel-bound: 5s
  reclaim-grace: 5s
  cleanup-interval: 5s
  release-flush-interval: 250ms
  release-max-backoff: 2s
  busy-retry-min: 250ms
  busy-retry-max: 1s
  max-limit: 1000000
credential-in-flight:
  snapshot-interval: 2s
  stale-after: 10s
  max-part-bytes: 262144
  max-part-count: 64
  max-revision-bytes: 16777216
  max-aggregate-groups: 100000
  max-details: 10000
  max-string-bytes: 256
  staging-retention: 1m
redis-usage-queue-retention-seconds: 60
ws-auth: true
"""
