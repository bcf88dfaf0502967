// A function that says when it was entered and stays for a while.

const now = () => (performance.timeOrigin + performance.now()) / 1000;

export const handler = async (event) => {
  const entered = now();
  await new Promise((resolve) => setTimeout(resolve, event.seconds * 1000));
  return entered;
};
