#!/bin/sh
# The first step of servers that read no environment: write what .env says into the file they read, in a tmpfs,
# and become the server. (Compose's `configs: content:` refuses a container whose root is read-only.) A value that
# would break the file is refused: the container ends with 2, and its log says what to change.
#
#   start.sh host FROM TO COMMAND...        FLOODMARK_HOST into lines marked so
#   start.sh grafana FROM TO COMMAND...     GRAFANA_URL into the folder of templates
#   start.sh agent FROM TO COMMAND...       the same as host, and REMOTE_WRITE_* into a remote_write
#   start.sh dsn FILE COMMAND...            the database's address out of its secret
set -eu

refuse() {
  echo "floodmark: $1" >&2
  exit 2
}

address() { # of that name: only what needs no quoting in YAML, in a template and in sed
  case $2 in
    *[!A-Za-z0-9._~:/?@%+=,-]*) refuse "$1 in .env can't be used, it has a character that no address needs: $2" ;;
    http://?* | https://?*) ;;
    *) refuse "$1 in .env must be a whole address, https://... : $2" ;;
  esac
}

host() {
  case $FLOODMARK_HOST in
    *[!A-Za-z0-9._-]*) refuse "FLOODMARK_HOST in .env must be of letters, digits, dots, _ and - : $FLOODMARK_HOST" ;;
  esac
  sed "s/floodmark\(}\{0,1\} # FLOODMARK_HOST\)/\"$FLOODMARK_HOST\"\1/" "$1" > "$2"
}

what=$1
from=$2
shift 2
case $what in
  dsn)
    # One line without its end, or nothing: /dev/null stands for a secret that isn't given.
    DATA_SOURCE_NAME=$(cat "$from")
    [ -n "$DATA_SOURCE_NAME" ] || refuse "whose database? Put its postgresql://USER:PASSWORD@HOST/postgres into a\
 file and POSTGRES_DSN_FILE=./secrets/postgres_dsn into .env"
    export DATA_SOURCE_NAME
    exec "$@"
    ;;
esac
to=$1
shift
case $what in
  host) host "$from" "$to" ;;
  grafana)
    cp "$from"/*.tmpl "$to"
    if [ -n "$GRAFANA_URL" ]; then
      address GRAFANA_URL "$GRAFANA_URL"
      sed "s|\$grafana := \"\"|\$grafana := \"${GRAFANA_URL%/}\"|" "$from/grafana.tmpl" > "$to/grafana.tmpl"
    fi
    ;;
  agent)
    [ -n "$REMOTE_WRITE_URL" ] || refuse "where to? Put REMOTE_WRITE_URL=https://... into .env, with\
 REMOTE_WRITE_USER where it wants one"
    address REMOTE_WRITE_URL "$REMOTE_WRITE_URL"
    host "$from" "$to"
    secret=/run/secrets/remote_write_password
    {
      echo "remote_write:"
      echo "  - url: \"$REMOTE_WRITE_URL\""
      if [ -n "$REMOTE_WRITE_USER" ]; then
        case $REMOTE_WRITE_USER in
          *[!A-Za-z0-9._@:/+=-]*) refuse "REMOTE_WRITE_USER in .env has a character that can't be used: $REMOTE_WRITE_USER" ;;
        esac
        echo "    basic_auth: {username: \"$REMOTE_WRITE_USER\", password_file: $secret}"
      elif [ -n "$REMOTE_WRITE_PASSWORD_FILE" ]; then
        echo "    authorization: {credentials_file: $secret}"
      fi
    } >> "$to"
    ;;
  *) refuse "start.sh: there is no $what" ;;
esac
exec "$@"
