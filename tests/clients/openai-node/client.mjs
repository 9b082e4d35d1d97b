// OpenAI's own SDK for JavaScript. What the cells ask comes from cells.py, as JSON.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { VERSION } from "openai/version";
import { z } from "zod";

const { CLIENT_BASE_URL, CLIENT_KEY, CLIENT_MODEL, CLIENT_CELLS } = process.env;
const cells = JSON.parse(CLIENT_CELLS);
const connect = (apiKey) => new OpenAI({ baseURL: `${CLIENT_BASE_URL}/v1`, apiKey });
const client = connect(CLIENT_KEY);
const user = (content) => ({ role: "user", content });
const asked = { model: CLIENT_MODEL, messages: [user(cells.QUESTION)], temperature: 0 };
const textOf = (completion) => completion.choices[0].message.content;

async function chat() {
  return { text: textOf(await client.chat.completions.create(asked)) };
}

async function stream() {
  const long = { ...asked, messages: [user(cells.LONG_QUESTION)] };
  const pieces = [];
  for await (const chunk of await client.chat.completions.create({ ...long, stream: true })) {
    const piece = chunk.choices[0]?.delta?.content;
    if (piece) pieces.push(piece);
  }
  return { pieces, whole: textOf(await client.chat.completions.create(long)) };
}

// The SDK itself runs the loop: it calls the function and asks again.
async function loop(stream) {
  const calls = [];
  const get_weather = ({ city }) => {
    calls.push({ name: "get_weather", arguments: { city } });
    return city === "Paris" ? cells.WEATHER : "unknown";
  };
  const { name, description, parameters } = cells.WEATHER_TOOL.function;
  const runner = client.chat.completions.runTools({
    ...asked,
    stream,
    messages: [user(cells.WEATHER_QUESTION)],
    tools: [{ type: "function", function: { name, description, parameters, parse: JSON.parse, function: get_weather } }],
  });
  const answer = await runner.finalContent();
  return { call: calls.length === 1 ? calls[0] : calls, answer };
}

async function structured() {
  const Person = z.object({ name: z.string(), age: z.int(), city: z.string() });
  const messages = [user(cells.PERSON_QUESTION)];
  const response_format = zodResponseFormat(Person, "person");
  const done = await client.chat.completions.parse({ ...asked, messages, response_format });
  return { by_schema: done.choices[0].message.parsed };
}

async function pictures() {
  const ask = async (question, ...urls) => {
    const parts = urls.map((url) => ({ type: "image_url", image_url: { url } }));
    const messages = [user([...parts, { type: "text", text: question }])];
    return textOf(await client.chat.completions.create({ ...asked, model: cells.SEES, messages })).trim();
  };
  return {
    colour: await ask(cells.COLOUR_QUESTION, cells.RED),
    shape: await ask(cells.SHAPE_QUESTION, cells.RED),
    compared: await ask(cells.COMPARE_QUESTION, cells.RED, cells.BLUE),
  };
}

async function raised(ask) {
  try {
    await ask();
  } catch (error) {
    return { type: error.constructor.name, status: error.status, message: error.message, field: error.param };
  }
  return { type: null, status: null, message: "nothing was raised" };
}

async function errors() {
  const create = (changes, as = client) => () => as.chat.completions.create({ ...asked, ...changes });
  return {
    wrong_key: await raised(create({}, connect(cells.WRONG_KEY))),
    unknown_model: await raised(create({ model: cells.UNKNOWN_MODEL })),
    bad_request: await raised(create({ temperature: cells.BAD_TEMPERATURE })),
  };
}

const saw = {};
const failed = {};
const all = { chat, stream, tool_loop: () => loop(false), streamed_tool_loop: () => loop(true), structured, pictures, errors };
for (const [name, cell] of Object.entries(all)) {
  try {
    saw[name] = await cell();
  } catch (error) {
    failed[name] = error.stack;
  }
}
console.log(JSON.stringify({ version: VERSION, saw, failed }));
