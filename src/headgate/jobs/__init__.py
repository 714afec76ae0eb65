"""Durable jobs: files of requests that are worked off at any cost of time, and none twice."""
