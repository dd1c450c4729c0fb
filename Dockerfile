# A node in a box. The steps are those of `make`: an own .venv with exactly what requirements.lock says.
FROM python:3.11-slim

# git keeps the results, make sets up; nothing is compiled.
RUN apt-get update && apt-get install --yes --no-install-recommends git make && rm -rf /var/lib/apt/lists/*

WORKDIR /srv/research-swarm
COPY Makefile pyproject.toml requirements.lock README.md LICENSE ./
COPY swarm swarm
COPY gossip gossip
COPY node node
COPY experiments experiments
COPY configs configs
ARG PIP_ARGS=""
RUN make setup PIP_ARGS="$PIP_ARGS"

# The home is a volume: key, journal and results outlive the container. A new volume takes the owner of the folder here.
RUN useradd --create-home swarm && mkdir /home/swarm/node /ticket && chown swarm:swarm /home/swarm/node /ticket
USER swarm
ENV SWARM_HOME=/home/swarm/node PATH="/srv/research-swarm/.venv/bin:$PATH"
VOLUME /home/swarm/node
EXPOSE 4001
STOPSIGNAL SIGTERM
ENTRYPOINT ["swarm"]
CMD ["launch"]
