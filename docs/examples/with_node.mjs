// OpenAI's SDK for JavaScript, which reads OPENAI_BASE_URL and OPENAI_API_KEY. The SDK runs the tool loop.
import OpenAI from "openai";

const client = new OpenAI();
const runner = client.chat.completions.runTools({
  model: "default",
  temperature: 0,
  messages: [{ role: "user", content: "What is the weather in Paris?" }],
  tools: [
    {
      type: "function",
      function: {
        name: "get_weather",
        description: "Get the current weather",
        parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
        parse: JSON.parse,
        function: ({ city }) => (city === "Paris" ? "sunny, 21 degrees" : "unknown"),
      },
    },
  ],
});
console.log(await runner.finalContent());
