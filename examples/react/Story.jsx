import { open } from 'hyperion-runtime';
import { useEffect, useRef, useState } from 'react';

/** A model for as long as the component lives. */
function useModel(source) {
    const [model, setModel] = useState(null);
    useEffect(() => {
        const loading = new AbortController();
        const opened = open(source, { signal: loading.signal });
        opened.then(setModel, error => loading.signal.aborted || console.error(error));
        return () => {
            loading.abort();
            setModel(null);
            opened.then(
                one => one.close(),
                () => {},
            );
        };
    }, [source]);
    return model;
}

export function Story() {
    const model = useModel('/story.gguf');
    const [story, setStory] = useState('');
    const [writing, setWriting] = useState(false);
    const stopping = useRef(null);

    async function write() {
        stopping.current = new AbortController();
        setWriting(true);
        setStory('Once upon a time');
        try {
            const answer = model.generate('Once upon a time', { signal: stopping.current.signal });
            for await (const { text } of answer) setStory(before => before + text);
        } catch (error) {
            if (error.name !== 'AbortError') setStory(error.message);
        }
        setWriting(false);
    }

    return (
        <main>
            <button id="write" disabled={!model || writing} onClick={write}>
                Write
            </button>
            <button id="stop" disabled={!writing} onClick={() => stopping.current.abort()}>
                Stop
            </button>
            <p id="story">{story}</p>
        </main>
    );
}
