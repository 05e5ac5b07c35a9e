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
from mcp.types import (
    PromptReference,
    ResourceListChangedNotification,
    ResourceTemplateReference,
    ResourceUpdatedNotification,
)

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
        **await use_resources(client, result["dispatch_id"], plan["plan_id"]),
        **await use_prompts(client, result["dispatch_id"]),
    }


async def use_resources(client: Client, dispatch: str, plan: str) -> dict:
    """Lists, completes and reads resources."""
    listed = [it.uri for it in (await client.list_resources()).resources]
    templates = (await client.list_resource_templates()).resource_templates
    task = ResourceTemplateReference(type="ref/resource", uri=templates[1].uri_template)
    tasks = await client.complete(
        task, {"name": "task_id", "value": "gen-"}, context_arguments={"id": dispatch}
    )
    contents = {}
    for uri in [
        f"dispatch://{dispatch}",
        f"dispatch://{dispatch}/tasks/{tasks.completion.values[0]}",
        f"trace://{dispatch}/{tasks.completion.values[0]}",
        f"plan://{plan}",
        "settings://agents",
    ]:
        [content] = (await client.read_resource(uri)).contents
        is_json = content.mime_type == "application/json"
        contents[uri.split("://")[0]] = json.loads(content.text) if is_json else content.text
    return {
        "lists_both": {f"dispatch://{dispatch}", f"plan://{plan}"} <= set(listed),
        "templates": [it.uri_template for it in templates],
        "completed": tasks.completion.values,
        "page": contents["plan"].split("```")[1],
        "agents": [it["name"] for it in contents["settings"]],
        "traced": [it["kind"] for it in contents["trace"]["events"]],
        "has_output": contents["dispatch"]["output"] is not None,
    }


async def use_prompts(client: Client, dispatch: str) -> dict:
    """Lists, completes and gets prompts."""
    prompts = (await client.list_prompts()).prompts
    review = PromptReference(type="ref/prompt", name="review-results")
    ids = await client.complete(review, {"name": "dispatch_id", "value": dispatch})
    got = await client.get_prompt("review-results", {"dispatch_id": ids.completion.values[0]})
    return {
        "prompts": [it.name for it in prompts],
        "reviewed": json.loads(got.messages[1].content.resource.text)["status"],
    }


async def follow(client: Client, document: dict, heard: "Heard") -> list[str]:
    """Hears that a dispatch was listed, and that one that somebody decided on went on."""
    task = document["tasks"][0] | {"approval": {"message": "go on?"}}
    held = {"tasks": [task], "wait": False}
    if client.protocol_version >= "2026-07-28":
        async with client.listen(resources_list_changed=True) as lists:
            result = await call(client, "dispatch", held)
            kinds = [type(await anext(aiter(lists))).__name__]
        uri = f"dispatch://{result['dispatch_id']}"
        async with client.listen(resource_subscriptions=[uri]) as changes:
            await approve(client, result)
            kinds.append(type(await anext(aiter(changes))).__name__)
        return kinds
    await client.list_resources(cache_mode="refresh")
    result = await call(client, "dispatch", held)
    await heard.wait_for(ResourceListChangedNotification)
    await client.subscribe_resource(f"dispatch://{result['dispatch_id']}")
    await approve(client, result)
    await heard.wait_for(ResourceUpdatedNotification)
    return ["ResourcesListChanged", "ResourceUpdated"]


async def approve(client: Client, result: dict) -> None:
    """Lets the dispatch's only task go on."""
    task = result["results"][0]["task_id"]
    decision = {"dispatch_id": result["dispatch_id"], "task_id": task, "decision": "approve"}
    await call(client, "approve_task", decision)


class Heard:
    """What the server told without being asked."""

    def __init__(self) -> None:
        self.sender, self.receiver = anyio.create_memory_object_stream(1_000)

    async def hear(self, message: object) -> None:
        """Is called with each message."""
        self.sender.send_nowait(message)

    async def wait_for(self, kind: type) -> None:
        """Waits until something of this kind was told."""
        while not isinstance(getattr(message := await self.receiver.receive(), "root", message), kind):
            pass


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
        "stdio modern": (lambda: stdio_client(stdio), "2026-07-28"),
        "stdio auto": (lambda: stdio_client(stdio), "auto"),
        "stdio legacy": (lambda: stdio_client(stdio), "legacy"),
        "http modern": (lambda: http(url, headers), "2026-07-28"),
        "http auto": (lambda: http(url, headers), "auto"),
        "http legacy": (lambda: http(url, headers), "legacy"),
        "sse auto": (lambda: sse_client(f"{url}/sse", headers), "auto"),
        "sse legacy": (lambda: sse_client(f"{url}/sse", headers), "legacy"),
    }
    seen = {}
    for way, (transport, mode) in ways.items():
        with anyio.fail_after(ANSWER_MAX):
            heard = Heard()
            async with Client(transport(), mode=mode, message_handler=heard.hear) as client:
                seen[way] = await use(client, document)
                seen[way]["heard"] = await follow(client, document, heard)
    json.dump(seen, sys.stdout)


anyio.run(main)
