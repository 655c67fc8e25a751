# Cassandra for tests: its pinned jars, on the product's base with the distribution's Java. Its files come from a Secret.
ARG BASE
FROM ${BASE}
RUN mkdir -p /usr/share/man/man1 && apt-get update -qq \
 && apt-get install -qq --yes --no-install-recommends openjdk-17-jre-headless && rm -rf /var/lib/apt/lists/* /var/log/*
COPY . /jars
USER 10001:10001
