"""A web page of what a swarm found: served by a running node, or by `swarm browse` from any home.

The only place where starlette, hypercorn, jinja2 and pygments are imported. It reads files of the home and changes
none but its own token.
"""
