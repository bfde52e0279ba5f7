# Makes deploy/prometheus/prometheus.yml, which has Docker Compose's names, one for a host without Docker.
s#/etc/prometheus/rules/#/etc/prometheus/floodmark/#
s#"floodmark:9717"#"127.0.0.1:9717"#
s#"alertmanager:9093"#"127.0.0.1:9093"#
# By name of a container, of compose's profile alone; it is the last job.
/# Of the profile `postgres`/,$d
