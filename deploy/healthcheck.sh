#!/usr/bin/env bash
# Whether something listens on loopback port $1. Once it did, the next look is half a minute later: an engine without
# start_interval would otherwise start a process every second for ever.
marker=/tmp/healthy-$1
if [ -e "$marker" ]; then sleep 30; fi
(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && touch "$marker"
