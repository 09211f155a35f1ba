import { Story } from './Story.jsx';

export default function Page() {
    return <Story />;
}
