// The Vercel AI SDK through the gateway: only the base URL is new. Everything is asked twice, whole
// and streamed; the second time the gateway asks nobody, as its header Cache-Status says.
//
//   npm ci
//   headgate serve &
//   node ask.mjs http://127.0.0.1:4000

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText } from "ai";

const gateway = process.argv[2] ?? "http://127.0.0.1:4000";
const baseURL = `${gateway}/v1`;
const openai = createOpenAI({ baseURL, apiKey: "sk-any" });
const anthropic = createAnthropic({ baseURL, apiKey: "sk-any" });

const models = {
  responses: openai("gpt-4o-mini"), // what the SDK speaks to OpenAI unless told otherwise
  chat: openai.chat("gpt-4o-mini"),
  messages: anthropic("claude-sonnet-4-5"),
};

async function whole(model, prompt) {
  const { text, usage, response } = await generateText({ model, prompt, maxRetries: 0 });
  return { text, tokens: usage.totalTokens, cache: response.headers["cache-status"] };
}

async function streamed(model, prompt) {
  const stream = streamText({ model, prompt, maxRetries: 0, onError: ({ error }) => { throw error; } });
  let text = "";
  for await (const delta of stream.textStream) text += delta;
  const [usage, response] = await Promise.all([stream.usage, stream.response]);
  return { text, tokens: usage.totalTokens, cache: response.headers["cache-status"] };
}

for (const [name, model] of Object.entries(models)) {
  for (const ask of [whole, streamed]) {
    for (const time of ["first", "second"]) {
      const answer = await ask(model, `What is a gate? (${ask.name})`);
      console.log(JSON.stringify({ name, way: ask.name, time, ...answer }));
    }
  }
}
