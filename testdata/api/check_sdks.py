"""Talks to `dwarfstar serve` with the official Python clients, openai and anthropic.

Starts the program that `cargo test` has built, with Nano on a free port of loopback, and checks that
the clients' own types accept every answer: whole and streamed, with tools, errors, and counting.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import anthropic
import openai

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "dwarfstar"
MODEL = "deepseek-v4-flash"
# Long enough to be worth looking up when it is asked again.
QUESTION = [{"role": "user", "content": "Hello, who are you? Please tell me in one or two short "
             "sentences what you are, who has made you, and what you can do for me today, if you can "
             "do anything at all without a network."}]
PARAMETERS = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "lines": {"type": "integer"}},
    "required": ["path", "lines"],
}


def chat(client):
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=40)
    assert answer.object == "chat.completion" and answer.usage.total_tokens > 10, answer
    stream = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=40, stream=True,
        stream_options={"include_usage": True}, seed=1,
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == answer.choices[0].message.content or chunks[-1].usage.completion_tokens == 40
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens > 0, chunks[-1]
    tool = {"type": "function", "function": {"name": "write", "parameters": PARAMETERS}}
    question = [{"role": "user", "content": "Write two lines to a.txt"}]
    answer = client.chat.completions.create(
        model=MODEL, messages=question, tools=[tool], tool_choice="required", max_tokens=400,
        extra_body={"think": False},
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls", choice
    call = choice.message.tool_calls[0]
    assert isinstance(json.loads(call.function.arguments)["lines"], int), call
    result = {"role": "tool", "tool_call_id": call.id, "content": "done"}
    client.chat.completions.create(
        model=MODEL, messages=[*question, choice.message, result], tools=[tool], max_tokens=20
    )
    logprobs = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=5, logprobs=True, top_logprobs=2, n=2,
        extra_body={"think": False},
    )
    assert len(logprobs.choices) == 2 and logprobs.choices[1].logprobs.content, logprobs


def completions(client):
    answer = client.completions.create(model=MODEL, prompt="The weather", max_tokens=8, logprobs=1)
    assert answer.choices[0].text and answer.choices[0].logprobs.tokens, answer
    stream = client.completions.create(model=MODEL, prompt="The weather", max_tokens=8, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream), "an empty stream"


def responses(client):
    answer = client.responses.create(model=MODEL, input="Hello?", max_output_tokens=60)
    assert answer.status in ("completed", "incomplete") and answer.usage.total_tokens, answer
    tool = {"type": "function", "name": "write", "parameters": PARAMETERS, "strict": True}
    with client.responses.stream(
        model=MODEL, input="Write two lines", tools=[tool], tool_choice="required",
        reasoning={"effort": "none"}, max_output_tokens=400,
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
    call = final.output[-1]
    assert call.type == "function_call" and "lines" in json.loads(call.arguments), call
    again = [{"role": "user", "content": "Write two lines"}]
    again += [item.model_dump(exclude={"parsed_arguments"}) for item in final.output]
    again.append({"type": "function_call_output", "call_id": call.call_id, "output": "done"})
    answer = client.responses.create(model=MODEL, input=again, tools=[tool], max_output_tokens=20)
    assert answer.usage.input_tokens_details.cached_tokens > 0, answer.usage


def messages(client):
    answer = client.messages.create(model=MODEL, messages=QUESTION, max_tokens=60)
    assert answer.content and answer.stop_reason in ("end_turn", "max_tokens"), answer
    tool = {"name": "write", "input_schema": PARAMETERS}
    with client.messages.stream(
        model=MODEL, messages=QUESTION, tools=[tool], tool_choice={"type": "tool", "name": "write"},
        thinking={"type": "disabled"}, max_tokens=400,
    ) as stream:
        final = stream.get_final_message()
    use = final.content[-1]
    assert final.stop_reason == "tool_use" and isinstance(use.input["lines"], int), final
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "done"}
    history = [*QUESTION, {"role": "assistant", "content": final.content},
               {"role": "user", "content": [result]}]
    answer = client.messages.create(model=MODEL, messages=history, tools=[tool], max_tokens=20)
    assert answer.usage.cache_read_input_tokens > 0, answer.usage
    count = client.messages.count_tokens(model=MODEL, messages=history, tools=[tool])
    assert count.input_tokens > 50, count


def expect(status, kind, call):
    """`call` has to raise exactly `kind`, the client's own type for `status`."""
    try:
        call()
    except kind as error:
        assert type(error) is kind and error.status_code == status, repr(error)
        assert error.message and error.body, repr(error)
        return error
    raise AssertionError(f"no {kind.__name__} for {status}")


def errors(base, client, other):
    def ask(**more):
        return client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=5, **more)

    def say(**more):
        return other.messages.create(model=MODEL, messages=QUESTION, max_tokens=5, **more)

    strict = {"type": "function", "name": "f", "strict": True, "parameters": {"type": "array"}}
    many = {"metadata": {"user_id": [0] * 2_200_000}}
    foreign = {"origin": "https://page.example"}
    stranger = openai.OpenAI(base_url=f"{base}/v1", api_key="wrong", max_retries=0)
    wrong = anthropic.Anthropic(base_url=base, api_key="wrong", max_retries=0)
    long = [{"role": "user", "content": "word " * 9000}]
    result = {"type": "tool_result", "tool_use_id": "toolu_x", "content": "y"}
    for status, kind, call in [
        (400, openai.BadRequestError, lambda: ask(extra_body={"modalities": ["audio"]})),
        (400, openai.BadRequestError, lambda: client.responses.create(
            model=MODEL, input="x", previous_response_id="resp_1")),
        (400, openai.BadRequestError, lambda: client.responses.create(
            model=MODEL, input="x", tools=[strict])),
        (401, openai.AuthenticationError, stranger.models.list),
        (403, openai.PermissionDeniedError, lambda: ask(extra_headers=foreign)),
        (404, openai.NotFoundError, lambda: client.embeddings.create(model=MODEL, input="x")),
        (413, openai.APIStatusError, lambda: ask(extra_body=many)),
        (400, anthropic.BadRequestError, lambda: other.messages.create(
            model=MODEL, messages=long, max_tokens=5)),
        (400, anthropic.BadRequestError, lambda: other.messages.create(
            model=MODEL, messages=[{"role": "user", "content": [result]}], max_tokens=5)),
        (401, anthropic.AuthenticationError, lambda: wrong.messages.create(
            model=MODEL, messages=QUESTION, max_tokens=5)),
        (403, anthropic.PermissionDeniedError, lambda: say(extra_headers=foreign)),
        (404, anthropic.NotFoundError, lambda: other.post(
            "/v1/messages/nothing", cast_to=object, body={})),
        (413, anthropic.RequestTooLargeError, lambda: say(extra_body=many)),
    ]:
        expect(status, kind, call)
    error = expect(400, openai.BadRequestError, lambda: client.chat.completions.create(
        model=MODEL, messages=long))
    assert error.code == "context_length_exceeded", error
    assert error.type == "invalid_request_error" and "maximum context length" in error.message
    error = expect(400, openai.BadRequestError, lambda: ask(temperature=3))
    assert error.param == "temperature", error


def crowded(base, status, kinds):
    """While one answer is under way, the next request is one too many."""
    client = openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0, timeout=120)
    other = anthropic.Anthropic(base_url=base, api_key="none", max_retries=0, timeout=120)
    with client.completions.create(
        model=MODEL, prompt="One", max_tokens=3000, stream=True
    ) as stream:
        next(iter(stream))
        error = expect(status, kinds[0], lambda: client.responses.create(model=MODEL, input="x"))
        assert error.response.headers["retry-after"] == "1", error
        expect(status, kinds[1], lambda: other.messages.create(
            model=MODEL, messages=QUESTION, max_tokens=5))


@contextlib.contextmanager
def serving(*flags):
    server = subprocess.Popen(
        [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--ctx", "4096", "--temp", "0",
         "--device", "cpu", "--threads", "2", "--quiet", *flags],
        stderr=subprocess.PIPE, text=True,
    )
    try:
        base = server.stderr.readline().strip().removeprefix("listening on ")
        assert base.startswith("http://127.0.0.1:"), base
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{base}/health") as answer:
                    assert answer.status == 200
                break
            except urllib.error.HTTPError:
                time.sleep(0.1)
        yield base
    finally:
        server.terminate()
        code = server.wait(timeout=60)
    assert code == 0, f"the server ended with {code}"


def main():
    with tempfile.TemporaryDirectory() as folder:
        key = pathlib.Path(folder) / "keys"
        key.write_text("secret\n")
        with serving("--api-key-file", key) as base:
            client = openai.OpenAI(base_url=f"{base}/v1", api_key="secret", timeout=120)
            other = anthropic.Anthropic(base_url=base, api_key="secret", timeout=120)
            assert [model.id for model in client.models.list()][0] == MODEL
            for check in (chat, completions, responses):
                check(client)
                print("ok", check.__name__)
            messages(other)
            print("ok messages")
            errors(base, client, other)
            print("ok errors")
    with serving("--client-requests", "1") as base:
        crowded(base, 429, (openai.RateLimitError, anthropic.RateLimitError))
    with serving("--sessions", "1", "--queue", "0") as base:
        crowded(base, 503, (openai.InternalServerError, anthropic.ServiceUnavailableError))
    print("ok crowded")


if __name__ == "__main__":
    sys.exit(main())
