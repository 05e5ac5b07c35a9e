"""Dispatches a document through the MCP project's own client, over each transport and era.

Usage: client.py PROGRAM CONFIG WORKSPACE DOCUMENT URL [TOKEN]

PROGRAM and CONFIG start a server on standard streams; URL is where one serves HTTP already, for whom
TOKEN says who calls. Prints
one JSON object: for each way, the protocol version and what was seen. The client itself checks
every answer against the tool's output schema.
"""

import json
import os
import sys
import warnings

import anyio
import httpx2
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

warnings.simplefilter("ignore")

ANSWER_MAX = 30


async def use(client: Client, document: dict) -> dict:
    """Lists the tools, runs the document, reads it back, and is refused once."""
    tools = (await client.list_tools()).tools
    plan = await call(client, "plan_tasks", {"tasks": document["tasks"]})
    result = await call(client, "dispatch", document)
    again = await call(
        client, "get_result", {"dispatch_id": result["dispatch_id"], "wait_ms": 20_000}
    )
    trace = await call(client, "read_trace", {"dispatch_id": result["dispatch_id"]})
    refusal = await client.call_tool("dispatch", {"tasks": [{"task_id": "a"}]})
    return {
        "protocol_version": client.protocol_version,
        "server": client.server_info.name if client.server_info else None,
        "instructions": len(client.instructions or ""),
        "tools": [it.name for it in tools],
        "read_only": [it.name for it in tools if it.annotations.read_only_hint],
        "waves": plan["waves"],
        "result": again,
        "kinds": sorted({it["kind"] for it in trace["events"]}),
        "is_refused": refusal.is_error,
        "codes": [it["code"] for it in json.loads(refusal.content[0].text)["errors"]],
    }


async def call(client: Client, tool: str, arguments: dict) -> dict:
    """Calls a tool that must do what it is asked."""
    answer = await client.call_tool(tool, arguments, progress_callback=ignore)
    if answer.is_error:
        raise RuntimeError(f"{tool} refused: {answer.content[0].text}")
    if json.loads(answer.content[0].text) != answer.structured_content:
        raise RuntimeError(f"{tool} says one thing as text and another as structured content")
    return answer.structured_content


async def ignore(progress: float, total: float | None, message: str | None) -> None:
    """Makes the client ask for progress."""


def http(url: str, headers: dict[str, str]):
    """Streamable HTTP with headers."""
    client = httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(ANSWER_MAX))
    return streamable_http_client(f"{url}/mcp", http_client=client)


async def main() -> None:
    program, config, workspace, document_path, url, *token = sys.argv[1:]
    headers = {"Authorization": f"Bearer {it}" for it in token}
    with open(document_path, encoding="utf-8") as file:
        document = json.load(file)
    stdio = StdioServerParameters(
        command=program,
        args=["serve", "--config", config],
        cwd=workspace,
        env=dict(os.environ),
    )
    ways = {
        "stdio modern": lambda: Client(stdio_client(stdio), mode="2026-07-28"),
        "stdio auto": lambda: Client(stdio_client(stdio), mode="auto"),
        "stdio legacy": lambda: Client(stdio_client(stdio), mode="legacy"),
        "http modern": lambda: Client(http(url, headers), mode="2026-07-28"),
        "http auto": lambda: Client(http(url, headers), mode="auto"),
        "http legacy": lambda: Client(http(url, headers), mode="legacy"),
        "sse auto": lambda: Client(sse_client(f"{url}/sse", headers), mode="auto"),
        "sse legacy": lambda: Client(sse_client(f"{url}/sse", headers), mode="legacy"),
    }
    seen = {}
    for way, connect in ways.items():
        with anyio.fail_after(ANSWER_MAX):
            async with connect() as client:
                seen[way] = await use(client, document)
    json.dump(seen, sys.stdout)


anyio.run(main)
