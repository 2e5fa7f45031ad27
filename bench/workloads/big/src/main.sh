#!/bin/sh
. /opt/src/version.sh
wc -l /opt/index
