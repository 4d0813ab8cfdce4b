// Runs axe-core, which is in the page, and gives what it calls serious or critical as sentences.
(async () => {
    const results = await axe.run(document, { resultTypes: ["violations"] });
    const severe = results.violations.filter((one) => ["serious", "critical"].includes(one.impact));
    const sentence = (one) => {
        const where = one.nodes.slice(0, 3).map((node) => node.target.join(" ")).join("; ");
        return `${one.id} (${one.impact}): ${one.help}: ${one.nodes.length} times, as at ${where}`;
    };
    return { passes: results.passes.length, violations: severe.map(sentence) };
})()
